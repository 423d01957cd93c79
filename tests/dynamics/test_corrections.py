"""Factorisations, slow directions and Krylov solutions against dense linear algebra."""

from __future__ import annotations

import pytest
import torch

from dynprobe.dynamics.corrections import FastCorrection, FullCorrection, SlowPart
from dynprobe.dynamics.krylov import directional, gmres
from dynprobe.dynamics.lu import LU, least_singular


def matrices(batch, n, values=None, seed=0):
    """Random matrices, with given singular values where they are given."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, n, n, generator=generator, dtype=torch.float64)
    if values is None:
        return x
    u, _, vh = torch.linalg.svd(x)
    s = torch.linspace(2.0, 0.3, n, dtype=torch.float64)
    s[n - len(values) :] = torch.tensor(values, dtype=torch.float64)
    return u @ torch.diag(s) @ vh


@pytest.mark.parametrize("n", [1, 7, 130, 200])
def test_lu_solves_and_knows_the_sign_of_the_determinant(n):
    a = matrices(5, n)
    b = matrices(5, n, seed=1)[..., :3]
    lu = LU.of(a)
    torch.testing.assert_close(a @ lu.solve(b), b, rtol=0, atol=1e-9)
    torch.testing.assert_close(a.mT @ lu.solve(b, transposed=True), b, rtol=0, atol=1e-9)
    signs = torch.stack([torch.linalg.slogdet(x).sign for x in a])
    assert torch.equal(lu.determinant_sign().double(), signs)
    some = torch.tensor([3, 1])
    torch.testing.assert_close(lu.take(some).solve(b[some]), lu.solve(b)[some])


def test_lu_with_several_threads():
    """Batched factorisations of 160 rows and more were wrong there, torch 2.13."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        a, b = matrices(6, 200), matrices(6, 200, seed=1)[..., :2]
        torch.testing.assert_close(a @ LU.of(a).solve(b), b, rtol=0, atol=1e-8)
    finally:
        torch.set_num_threads(before)


def test_a_singular_matrix_is_marked_and_does_not_stop_the_others():
    a = matrices(3, 20)
    a[1] = 0
    a[2, :, 4] = a[2, :, 3]
    lu = LU.of(a)
    assert (lu.pivot_ratio > 1e-9).tolist() == [True, False, False]
    assert FullCorrection.of(a).usable.tolist() == [True, False, False]
    a[0, 3, 5] = torch.nan
    full, fast = FullCorrection.of(a), FastCorrection.of(a, 0.05)
    assert full.usable.tolist() == [False, False, False]
    assert fast.usable.tolist() == [False, True, True]
    assert lu.solve(torch.ones(3, 20, 1, dtype=torch.float64)).isfinite().all()


def test_least_singular_values_and_vectors():
    a = matrices(4, 60, values=[1e-2, 1e-4, 1e-12])
    left, values, right = least_singular(a, LU.of(a), 8)
    u, s, vh = torch.linalg.svd(a)
    torch.testing.assert_close(values[:, -3:], s[:, -3:], rtol=1e-6, atol=1e-14)
    for i in (-1, -2, -3):
        assert ((right[..., i] * vh[:, i]).sum(1).abs() - 1).abs().max() < 1e-9
        assert ((left[..., i] * u[..., i]).sum(1).abs() - 1).abs().max() < 1e-9


@pytest.mark.parametrize("values", [[], [0.01], [0.04, 1e-3, 1e-15], [0.01] * 20])
def test_the_fast_correction_is_that_of_a_truncated_svd(values):
    a = matrices(3, 70, values=values)
    r = matrices(3, 70, seed=2)[..., 0]
    correction = FastCorrection.of(a, 0.05)
    assert (correction.slow.dims == len(values)).all()
    u, s, vh = torch.linalg.svd(a)
    inverse = torch.where(s > 0.05, 1 / s, 0.0)
    exact = -(vh.mT @ (inverse.unsqueeze(-1) * (u.mT @ r.unsqueeze(-1)))).squeeze(-1)
    # inverse iteration: a value of 0.04 next to one of 0.3 is separated to about 1e-6
    torch.testing.assert_close(correction(r), exact, rtol=0, atol=1e-5)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(correction.take(some)(r[some]), exact[some], rtol=0, atol=1e-5)


def test_points_may_differ_in_their_number_of_slow_directions():
    a = torch.cat([matrices(1, 40, values=[0.01, 0.02]), matrices(1, 40), matrices(1, 40, [0.04])])
    slow = SlowPart.of(a, LU.of(a), 0.05)
    exact = (torch.linalg.svdvals(a) <= 0.05).sum(1)
    assert torch.equal(slow.dims, exact)
    assert (slow.up_to(0.015).dims == (torch.linalg.svdvals(a) <= 0.015).sum(1)).all()


def test_gmres_and_directional_derivatives():
    a = matrices(4, 50) / 50**0.5 * 0.5 + torch.eye(50, dtype=torch.float64)
    b = matrices(4, 50, seed=3)[..., 0]
    b[2] = 0  # solved at once
    x = gmres(lambda v: (a @ v.unsqueeze(-1)).squeeze(-1), b)
    assert ((a @ x.unsqueeze(-1)).squeeze(-1) - b).norm(dim=1).max() <= 1e-4 * 1.01 * b.norm(
        dim=1
    ).max()
    assert not x[2].any()
    at = torch.randn(4, 50, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    product = directional(lambda s: torch.tanh(s @ a[0].T), at)
    slope = 1 - torch.tanh(at @ a[0].T) ** 2
    torch.testing.assert_close(product(b), slope * (b @ a[0].T))
    constant = directional(lambda s: torch.ones_like(s), at)
    assert not constant(b).any()


@pytest.mark.parametrize("scale", [1.0, 1e39, 1e-44])
def test_a_float32_factorisation_is_taken_only_where_it_solves(scale):
    good = matrices(3, 80, [0.3])
    r = matrices(3, 80, seed=2)[:, 0]
    short = FullCorrection.of(good)
    assert short.lu.factors.dtype == torch.float32
    torch.testing.assert_close(short(r), -torch.linalg.solve(good, r), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(short(1e-50 * r) / 1e-50, short(r))
    # pivots of 1, and a condition of 1e10
    triangular = torch.triu(torch.full((80, 80), -0.35, dtype=torch.float64), 1)
    bad = triangular + torch.eye(80, dtype=torch.float64)
    for matrix in (bad.expand(3, -1, -1), scale * good if scale != 1 else bad.expand(3, -1, -1)):
        long = FullCorrection.of(matrix)
        assert long.lu.factors.dtype == torch.float64
        torch.testing.assert_close(long(r), -torch.linalg.solve(matrix, r), rtol=1e-4, atol=1e-6)


def test_entries_whose_sum_overflows_are_finite():
    jac = torch.full((1, 80, 80), 1e305, dtype=torch.float64)
    assert FullCorrection.of(jac).finite.all()
    jac[0, 0, 0] = torch.nan
    assert not FullCorrection.of(jac).finite.any()
