"""What is computed from factors against the same computed from the states, one token at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dynprobe.dimension import participation_ratio
from dynprobe.errors import UnknownNameError
from dynprobe.recurrences.gram import gram
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.participation import participation_ratio as participation_ratio_of
from dynprobe.recurrences.principal import principal_components
from dynprobe.recurrences.rank_one import DELTA, PLAIN, STABILISED, RankOne
from dynprobe.recurrences.state_matrix import state_matrix

H, K, V, T, B = 4, 3, 5, 23, 2
FORMS = {
    "scalar decay": RankOne(Layout.of(S=(H, K, V)), H, K, V, k_groups=H, u_groups=H),
    "shared u": RankOne(Layout.of(S=(H, K, V)), H, K, V, k_groups=H, u_groups=2),
    "constant decay": RankOne(Layout.of(S=(H, K, V)), H, K, V, k_groups=H, u_groups=H, rates=0),
    "decay of every number": RankOne(Layout.of(S=(H, V)), H, 1, V, k_groups=H, u_groups=1),
    "normaliser": RankOne(
        Layout.of(S=(H, K, V), z=(H, K)), H, K, V, k_groups=H, u_groups=H, normaliser=True
    ),
    "delta": RankOne(Layout.of(S=(H, K, V)), H, K, V, k_groups=2, u_groups=H, kind=DELTA),
    "delta, constant decay": RankOne(
        Layout.of(S=(H, K, V)), H, K, V, k_groups=H, u_groups=H, rates=0, kind=DELTA
    ),
    "delta, decay of channels": RankOne(
        Layout.of(S=(H, K, V)), H, K, V, k_groups=H, u_groups=H, rates=K, kind=DELTA
    ),
    "stabilised": RankOne(
        Layout.of(C=(H, K, V), n=(H, K), m=H),
        H,
        K,
        V,
        k_groups=H,
        u_groups=H,
        kind=STABILISED,
        normaliser=True,
    ),
    "stabilised, k = 1": RankOne(
        Layout.of(num=(H, V), den=H, max=H),
        H,
        1,
        V,
        k_groups=0,
        u_groups=H,
        rates=0,
        kind=STABILISED,
        normaliser=True,
    ),
}


def made(name):
    form = FORMS[name]
    x = torch.randn(B, T, form.inputs.size, dtype=torch.float64)
    parts = form.inputs.split(x)
    if "rate" in parts:
        parts["rate"].abs_().mul_(-0.3)
    if "beta" in parts:
        parts["beta"].sigmoid_().mul_(2)
    shape = (H, 1, V) if name == "decay of every number" else (H, 1, 1)
    scale = 0.2 + torch.rand(shape, dtype=torch.float64)
    if form.rates == 0:
        scale = -0.3 * scale
    initial = torch.randn(B, form.layout.size, dtype=torch.float64)
    state, states = initial, []
    for t in range(T):
        state = form.step(state, x[:, t], scale)
        states.append(state)
    return form, form.factors(x, initial, scale), torch.stack(states, dim=1)


@pytest.fixture(params=FORMS, ids=str)
def case(request):
    return made(request.param)


def test_states(case):
    form, factors, states = case
    torch.testing.assert_close(factors.states(), states)
    torch.testing.assert_close(factors.states(every=4), states[:, 3::4])
    steps = torch.tensor([[0, 7, T - 1], [3, 3, 5]])
    picked = torch.stack([states[b, steps[b]] for b in range(B)])
    torch.testing.assert_close(factors.at(steps), picked)


def test_states_do_not_depend_on_the_size_of_blocks(case, monkeypatch):
    form, factors, states = case
    monkeypatch.setattr("dynprobe.recurrences.factors.BLOCK", 5 * factors.start.numel())
    assert sum(1 for _ in factors.blocks()) == 5
    torch.testing.assert_close(factors.states(), states)
    torch.testing.assert_close(factors.states(every=3), states[:, 2::3])


def test_projections(case):
    form, factors, states = case
    directions = torch.randn(6, form.layout.size, dtype=torch.float64)
    torch.testing.assert_close(factors.project_flat(directions), states @ directions.T)


def test_weighted_sums(case):
    form, factors, states = case
    weights = torch.randn(B, T, 2, dtype=torch.float64)
    matrices = form.matrix(states)
    expected = torch.einsum("btn,bthkv->nhkv", weights, matrices)
    torch.testing.assert_close(factors.adjoint(weights), expected)


def matrices(name, of):
    """The same states as factors, formed by the library's own map, and by their definition."""
    form, factors, states = made(name)
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[1, 17:] = False
    if of == "S/t":
        plain = states / torch.arange(1, T + 1)[:, None]
    elif of == "S/z":
        matrix = form.matrix(states)
        plain = (matrix[..., :V] / matrix[..., V:]).flatten(2)
    else:
        plain = states
    return (
        state_matrix(factors, mask, of),
        state_matrix(states, mask, of, form=form),
        plain,
        mask,
    )


kinds = pytest.mark.parametrize(
    ("name", "of"),
    [
        (name, of)
        for name, form in FORMS.items()
        for of in ("S", "S/t", "S/z")
        if form.normaliser or of != "S/z"
    ],
)


@kinds
def test_products_with_the_matrix_of_states(name, of):
    *both, plain, mask = matrices(name, of)
    x = torch.randn(4, plain.shape[-1], dtype=torch.float64)
    flat = plain[mask]
    for matrix in both:
        assert matrix.width == plain.shape[-1]
        torch.testing.assert_close(matrix.project(x)[mask], flat @ x.T)
        assert not matrix.project(x)[~mask].any()
        torch.testing.assert_close(gram(matrix), flat @ flat.T)
        torch.testing.assert_close(matrix.mean, flat.mean(0))
        centred = torch.zeros_like(plain)
        centred[mask] = flat - flat.mean(0)
        y = torch.randn(B * T, 4, dtype=torch.float64)
        torch.testing.assert_close(matrix.transposed(y), centred.flatten(0, 1).T @ y)


@kinds
@pytest.mark.parametrize("size", [8, 64])
def test_principal_components(name, of, size, monkeypatch):
    monkeypatch.setattr("dynprobe.recurrences.rows.CHUNK", size)
    monkeypatch.setattr("dynprobe.recurrences.gram.CHUNK", size)
    *both, plain, mask = matrices(name, of)
    flat = plain[mask]
    exact = torch.linalg.svdvals(flat - flat.mean(0)) ** 2 / (len(flat) - 1)
    for matrix in both:
        pca = principal_components(matrix, 3)
        torch.testing.assert_close(pca.variance, exact[:3], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(pca.mean, flat.mean(0))
        assert pca.total_variance == pytest.approx(float(exact.sum()))
        scores = (flat - pca.mean) @ pca.components.T
        torch.testing.assert_close(pca.scores[mask], scores)
        assert not pca.scores[~mask].any()
        ratio = participation_ratio(exact)
        assert participation_ratio_of(matrix) == pytest.approx(ratio, rel=1e-9)
        # one of every ten random probes of the variance that sixteen components leave
        assert participation_ratio_of(matrix, exact=False) == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize("of", ["S", "S/t", "S/z"])
def test_gradients_pass_through(of):
    form, given, _ = made("normaliser")
    mask = torch.ones(B, T, dtype=torch.bool)
    x = torch.randn(2, H * K * (V + (of != "S/z")), dtype=torch.float64)
    found = []
    for formed in (False, True):
        k = given.k.clone().requires_grad_(True)
        factors = replace(given, k=k)
        matrix = state_matrix(factors.states() if formed else factors, mask, of, form=form)
        loss = matrix.project(x).sin().sum() + gram(matrix).sin().sum()
        found.append(torch.autograd.grad(loss, k)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-8)


def test_a_state_that_counts_nothing_yet_is_zero_when_divided():
    form = FORMS["normaliser"]
    x = torch.randn(1, 6, form.inputs.size, dtype=torch.float64)
    x[:, :3] = 0
    zero = torch.zeros(1, form.layout.size, dtype=torch.float64)
    factors = form.factors(x, zero, torch.ones(1, 1, 1, dtype=torch.float64))
    mask = torch.ones(1, 6, dtype=torch.bool)
    directions = torch.eye(H * K * V, dtype=torch.float64)
    divided = state_matrix(factors, mask, "S/z").project(directions)
    assert not divided[:, :3].any()
    assert divided.isfinite().all()
    torch.testing.assert_close(
        divided, state_matrix(factors.states(), mask, "S/z", form=form).project(directions)
    )


def test_other_states_are_named():
    form = FORMS["delta"]
    states, mask = torch.zeros(1, 5, form.layout.size), torch.ones(1, 5, dtype=torch.bool)
    with pytest.raises(UnknownNameError, match="have no normaliser"):
        state_matrix(states, mask, "S/z", form=form)
    with pytest.raises(UnknownNameError, match="no states of='S/x'"):
        state_matrix(states, mask, "S/x")


def test_a_form_survives_a_file():
    for form in FORMS.values():
        assert RankOne.from_dict(form.to_dict()) == form


def test_factors_are_small():
    form = RankOne(Layout.of(S=(8, 64, 64)), 8, 64, 64, k_groups=8, u_groups=8, kind=PLAIN)
    x = torch.zeros(1, 100, form.inputs.size)
    factors = form.factors(x, torch.zeros(1, form.layout.size), torch.ones(1, 1, 1))
    held = factors.nbytes - factors.start.numel() * 4
    assert held <= 0.04 * factors.states().numel() * 4
