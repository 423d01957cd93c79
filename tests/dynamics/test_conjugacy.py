"""Distances of linear systems up to rotation: planted answers, bounds, metric properties."""

from __future__ import annotations

import math
import time

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from dynprobe.errors import NonFiniteStatesError, ShapeError
from dynprobe.similarity import conjugacy_distance


def drawn(*shape, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def orthogonal(n, seed, *, reflection=False):
    q = torch.linalg.qr(drawn(n, n, seed=seed))[0]
    if bool(torch.linalg.det(q) < 0) != reflection:
        q[:, 0] *= -1
    return q


def normal(eigenvalues, seed):
    """Of complex numbers above the real axis (each a pair) and real ones."""
    blocks = []
    for v in eigenvalues:
        z = complex(v)
        block = [[z.real, -z.imag], [z.imag, z.real]] if z.imag else [[z.real]]
        blocks.append(torch.tensor(block, dtype=torch.float64))
    m = torch.block_diag(*blocks)
    q = orthogonal(len(m), seed)
    return q @ m @ q.T


def upper(count, seed, real=None):
    x = drawn(count, 2, seed=seed)
    return [complex(a if real is None else real, abs(b) + 0.2) for a, b in x.tolist()]


def oblique(n, seed):
    """Not normal, with two eigenvalues only, each n / 2 times."""
    p = drawn(n, n, seed=seed)
    values = torch.tensor([0.9] * (n // 2) + [0.3] * (n - n // 2), dtype=torch.float64)
    return p @ torch.diag(values) @ torch.linalg.inv(p)


PAIR = torch.tensor([[0.0, -1], [1, 0]], dtype=torch.float64)
KINDS = {
    "not normal": lambda n: drawn(n, n, seed=1) / n**0.5,
    "symmetric": lambda n: (drawn(n, n, seed=2) + drawn(n, n, seed=2).T) / n**0.5,
    "normal, complex pairs": lambda n: normal(upper(n // 2, 3), 4),
    "pairs of one real part": lambda n: normal(upper(n // 2, 5, real=0.5), 6),
    "orthogonal": lambda n: orthogonal(n, 7),
    "antisymmetric": lambda n: drawn(n, n, seed=8) - drawn(n, n, seed=8).T,
    "symmetric, repeated": lambda n: normal([0.9] * (n // 2) + [0.3] * (n // 2), 9),
    "repeated pairs": lambda n: normal([0.9 + 0.3j] * (n // 4) + [0.5] * (n - 2 * (n // 4)), 10),
    "oblique, repeated": lambda n: oblique(n, 11),
    "nilpotent": lambda n: torch.diag(torch.ones(n - 1, dtype=torch.float64), 1),
    "twice the same": lambda n: torch.block_diag(*[drawn(n // 2, n // 2, seed=12)] * 2),
    "commutes with a rotation": lambda n: (
        torch.kron(drawn(n // 2, n // 2, seed=13), torch.eye(2).double())
        + torch.kron(drawn(n // 2, n // 2, seed=14), PAIR)
    ),
    "zero": lambda n: torch.zeros(n, n, dtype=torch.float64),
}


@pytest.mark.parametrize("reflection", [False, True])
@pytest.mark.parametrize("n", [2, 10, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_conjugate_systems_have_distance_zero(kind, n, reflection):
    a = KINDS[kind](n)
    q = orthogonal(n, 99, reflection=reflection)
    b = q @ a @ q.T
    found = conjugacy_distance(a, b)
    assert found.distance <= 1e-6
    assert found.angle <= 1e-6
    assert found.certain
    c = found.rotation
    torch.testing.assert_close(c @ c.T, torch.eye(n, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float((a - c @ b @ c.T).norm()) == pytest.approx(found.distance, abs=1e-12)


def test_fifty_dimensions_take_less_than_half_a_second():
    a = KINDS["not normal"](50)
    q = orthogonal(50, 5, reflection=True)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert conjugacy_distance(a, q @ a @ q.T).distance <= 1e-6
        times.append(time.perf_counter() - start)
    assert min(times) <= 0.5


@pytest.mark.parametrize("n", [2, 7, 30])
def test_symmetric_matrices_differ_by_their_sorted_eigenvalues(n):
    a, b = (m + m.T for m in (drawn(n, n, seed=1), drawn(n, n, seed=2)))
    expected = float((torch.linalg.eigvalsh(a) - torch.linalg.eigvalsh(b)).norm())
    found = conjugacy_distance(a, b)
    assert found.distance == pytest.approx(expected, rel=1e-10)
    assert found.certain


@pytest.mark.parametrize("pairs", [1, 3, 10, 20])
def test_normal_matrices_differ_by_the_best_matching_of_their_eigenvalues(pairs):
    """Hoffman & Wielandt 1953: pairs go to pairs, so the match is one of those above the axis."""
    a, b = upper(pairs, 1), upper(pairs, 2)
    cost = torch.tensor([[abs(x - y) ** 2 for y in b] for x in a])
    rows, columns = linear_sum_assignment(cost.numpy())
    expected = math.sqrt(2 * float(cost[rows, columns].sum()))
    found = conjugacy_distance(normal(a, 3), normal(b, 4))
    assert found.distance == pytest.approx(expected, rel=1e-6)
    assert found.certain


def test_two_by_two_against_a_scan_of_all_rotations_and_reflections():
    for seed in range(5):
        a, b = drawn(2, 2, seed=seed), drawn(2, 2, seed=seed + 50)
        t = torch.linspace(0, 2 * math.pi, 40_001, dtype=torch.float64)
        c, s = t.cos(), t.sin()
        turns = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
        flip = torch.diag(torch.tensor([1.0, -1], dtype=torch.float64))
        both = torch.cat([turns, turns @ flip])
        least = float((a - both @ b @ both.mT).flatten(1).norm(dim=1).min())
        found = conjugacy_distance(a, b)
        assert found.distance <= least + 1e-9
        assert found.distance == pytest.approx(least, abs=1e-6)


@pytest.mark.parametrize("n", [3, 8, 20])
def test_bounds_hold_and_a_small_perturbation_costs_no_more_than_itself(n):
    a = drawn(n, n, seed=1) / n**0.5
    noise = 1e-3 * drawn(n, n, seed=2)
    q = orthogonal(n, 3)
    found = conjugacy_distance(a, q @ (a + noise) @ q.T)
    assert found.lower_bound <= found.distance <= float(noise.norm())
    assert found.lower_bound > 0


def test_symmetric_in_its_arguments_and_itself_at_zero():
    for seed in range(4):
        a, b = drawn(6, 6, seed=seed), drawn(6, 6, seed=seed + 10)
        assert conjugacy_distance(a, a).distance < 1e-12
        there, back = conjugacy_distance(a, b), conjugacy_distance(b, a)
        assert there.distance == pytest.approx(back.distance, rel=1e-9)
        assert there.lower_bound == pytest.approx(back.lower_bound, rel=1e-9)


def test_coordinates_are_not_seen():
    a, b = drawn(8, 8, seed=1), drawn(8, 8, seed=2)
    expected = conjugacy_distance(a, b).distance
    for seed in range(3):
        q = orthogonal(8, 20 + seed, reflection=seed % 2 == 1)
        assert conjugacy_distance(q @ a @ q.T, b).distance == pytest.approx(expected, rel=1e-6)


def test_the_triangle_inequality_holds():
    systems = [drawn(5, 5, seed=s) for s in range(5)]
    found = [[conjugacy_distance(a, b) for b in systems] for a in systems]
    for d in (
        torch.tensor([[f.distance for f in row] for row in found]),
        torch.tensor([[f.angle for f in row] for row in found]),
    ):
        assert bool((d[:, None, :] <= d[:, :, None] + d[None] + 1e-6).all())


def test_the_angle_does_not_see_scale_and_the_distance_does():
    a, b = drawn(6, 6, seed=1), drawn(6, 6, seed=2)
    one, two = conjugacy_distance(a, b), conjugacy_distance(a, 3 * b)
    assert one.angle == pytest.approx(two.angle, abs=1e-9)
    assert abs(one.distance - two.distance) > 0.1
    cosine = float((a * (one.rotation @ b @ one.rotation.T)).sum() / (a.norm() * b.norm()))
    assert one.angle == pytest.approx(math.acos(cosine), abs=1e-9)


def test_zero_against_something():
    b = drawn(4, 4, seed=1)
    found = conjugacy_distance(torch.zeros(4, 4), b)
    assert found.distance == pytest.approx(float(b.norm()))
    assert found.angle == math.pi / 2


def test_inputs_and_global_random_state_are_left_alone():
    a, b = drawn(6, 6, seed=1), drawn(6, 6, seed=2)
    before = a.clone(), b.clone(), torch.get_rng_state()
    first = conjugacy_distance(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])
    assert torch.equal(torch.get_rng_state(), before[2])
    assert conjugacy_distance(a, b).distance == first.distance


def test_bad_input_is_named():
    a = drawn(3, 3, seed=1)
    with pytest.raises(ShapeError, match="one rank"):
        conjugacy_distance(a, drawn(4, 4, seed=1))
    with pytest.raises(ShapeError, match=r"second matrix has shape \(3, 2\)"):
        conjugacy_distance(a, drawn(3, 2, seed=1))
    with pytest.raises(ShapeError, match="complex"):
        conjugacy_distance(a.to(torch.complex128), a)
    with pytest.raises(NonFiniteStatesError, match="first"):
        conjugacy_distance(a / 0, a)
