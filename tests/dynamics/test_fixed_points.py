"""The search against systems whose fixed points are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe import Status
from dynprobe.errors import ConvergenceError, ShapeError
from dynprobe.testing import linear_system, ring_attractor, ring_states


def seeds(n, width, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(n, width, generator=generator, dtype=torch.float64)


def test_a_contracting_linear_map_has_its_one_fixed_point():
    system, matrix, fixed = linear_system([0.9, 0.5, -0.3, 0.99])
    fp = dynprobe.find_fixed_points(system, seeds(20, 4))
    assert fp.converged.all()
    assert fp.isolated.all()
    assert fp.speed.max() <= 1e-20
    unique = fp.unique()
    assert len(unique) == 1
    torch.testing.assert_close(unique.states[0], fixed, rtol=0, atol=1e-9)
    lin = dynprobe.linearize(system, unique)
    torch.testing.assert_close(
        lin.eigenvalues[0].real, torch.tensor([0.99, 0.9, 0.5, -0.3], dtype=torch.float64)
    )
    torch.testing.assert_close(lin.jacobian[0], matrix)


def test_an_unstable_linear_map_has_one_too():
    system, _, fixed = linear_system([1.2, 0.5, -2.0])
    unique = dynprobe.find_fixed_points(system, seeds(10, 3)).unique()
    torch.testing.assert_close(unique.states, fixed[None], rtol=0, atol=1e-9)


@pytest.mark.parametrize("marginal", [1, 2])
def test_a_line_or_plane_is_certified_as_a_continuum_and_seeds_do_not_slide(marginal):
    system, matrix, _ = linear_system([1.0] * marginal + [0.5, -0.3, 0.1])
    start = seeds(30, 3 + marginal)
    fp = dynprobe.find_fixed_points(system, start)
    assert fp.converged.all()
    assert not fp.isolated.any()
    assert (fp.slow_dims == marginal).all()
    assert len(fp.unique()) == 30  # different points, all kept
    # the nearest point of the continuum: the step is orthogonal to it
    _, _, v = torch.linalg.svd(matrix - torch.eye(3 + marginal, dtype=torch.float64))
    along = (fp.states - start) @ v[-marginal:].T
    assert along.abs().max() <= 1e-9


def test_drift_without_a_fixed_point_is_slow_or_unconverged_never_fixed():
    for offset, status in ((1e-3, Status.SLOW), (0.5, Status.UNCONVERGED)):
        system = dynprobe.as_recurrence(
            lambda s, x, offset=offset: (
                s * torch.tensor([1.0, 0.5], dtype=s.dtype)
                + torch.tensor([offset, 0.0], dtype=s.dtype)
            ),
            state_dim=2,
            input_dim=1,
        )
        fp = dynprobe.find_fixed_points(system, seeds(10, 2))
        assert (fp.status == status).all()
        assert len(fp.unique()) == 0
        if status == Status.SLOW:
            torch.testing.assert_close(fp.drift, torch.full_like(fp.drift, offset))


def phase(h):
    angle = 2 * math.pi * torch.arange(h.shape[1], dtype=h.dtype) / h.shape[1]
    return torch.atan2((h * angle.sin()).sum(1), (h * angle.cos()).sum(1))


def ring_seeds(units, radius, n, noise):
    generator = torch.Generator().manual_seed(0)
    phases = 2 * math.pi * torch.rand(n, generator=generator, dtype=torch.float64)
    start = ring_states(units, radius, phases)
    return start + noise * torch.randn(start.shape, generator=generator, dtype=torch.float64)


def test_every_point_of_an_exact_ring_is_fixed_and_not_isolated():
    module, radius = ring_attractor(64)
    start = ring_seeds(64, radius, 64, noise=0.02)
    fp = dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), start)
    assert fp.converged.all()
    assert not fp.isolated.any()
    assert (fp.slow_dims == 1).all()
    assert fp.speed.max() <= 1e-20
    slide = (phase(fp.states) - phase(start) + math.pi) % (2 * math.pi) - math.pi
    assert slide.abs().median() <= 1e-3
    expected = ring_states(64, radius, phase(fp.states))
    assert (fp.states - expected).abs().max() <= 1e-9
    assert len(fp.unique()) == 64
    lin = dynprobe.linearize(dynprobe.attach(module).recurrence(), fp[:5])
    assert (lin.eigenvalues[:, 0] - 1).abs().max() <= 1e-9
    assert lin.time_constants[:, 1].max() < 20


def test_a_noisy_ring_is_slow_but_for_a_few_pinned_points():
    module, radius = ring_attractor(64, noise=1e-3)
    start = ring_seeds(64, radius, 64, noise=0.02)
    recurrence = dynprobe.attach(module).recurrence()
    fp = dynprobe.find_fixed_points(recurrence, start)
    of_seeds = fp[:64]
    assert (of_seeds.status != Status.UNCONVERGED).all()
    assert of_seeds.count(Status.SLOW) >= 60
    assert of_seeds.drift[of_seeds.slow].min() > 0
    unique = fp.unique()
    assert 2 <= len(unique) <= 20
    assert unique.isolated.all()
    # one by one, they are where the flow along the ring changes sign
    moved = recurrence.rollout(
        of_seeds.states[of_seeds.slow], torch.zeros(int(of_seeds.slow.sum()), 1, 1).double()
    )[:, -1]
    drift = (phase(moved) - phase(of_seeds.states[of_seeds.slow])).abs()
    assert drift.max() < 1e-3


def test_two_unit_network_against_brute_force():
    """Fixed points of a 2-unit tanh network, found by sign changes on a grid."""
    module = nn.RNN(1, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        module.weight_hh_l0.copy_(torch.tensor([[2.0, -0.4], [0.3, 1.8]]))
        module.bias_hh_l0.copy_(torch.tensor([0.05, -0.1]))
        module.bias_ih_l0.zero_()
    recurrence = dynprobe.attach(module).recurrence()
    fp = dynprobe.find_fixed_points(recurrence, seeds(300, 2, 0.7))
    unique = fp.unique()
    grid = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    r = (recurrence.step(points, points.new_zeros(len(points), 1)) - points).reshape(2001, 2001, 2)
    corners = torch.stack([r[:-1, :-1], r[1:, :-1], r[:-1, 1:], r[1:, 1:]])
    change = (corners.amin(0) <= 0) & (corners.amax(0) >= 0)
    cells = change.all(-1).nonzero()
    brute = grid[cells] + (grid[1] - grid[0]) / 2
    distance = torch.cdist(brute, unique.states)
    assert len(unique) == 9
    assert distance.min(1).values.max() <= 3e-3  # each sign-change cell has its point
    assert distance.min(0).values.max() <= 3e-3  # and each point its cell
    assert unique.isolated.all()


def bistable_gru():
    module = nn.GRU(1, 1, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.weight_hh_l0.copy_(torch.tensor([[0.0], [0.0], [6.0]]))  # n = tanh(3 h)
    return module


def test_a_bistable_gru_has_two_attractors_and_a_saddle():
    recurrence = dynprobe.attach(bistable_gru()).recurrence()
    fp = dynprobe.find_fixed_points(recurrence, seeds(40, 1, 0.5))
    unique = fp.unique()
    edge = 0.995
    for _ in range(100):
        edge = math.tanh(3 * edge)
    expected = torch.tensor([[-edge], [0.0], [edge]], dtype=torch.float64)
    torch.testing.assert_close(unique.states.sort(0).values, expected, rtol=0, atol=1e-9)
    lam = dynprobe.linearize(recurrence, unique).eigenvalues.abs().flatten()
    assert sorted((lam > 1).tolist()) == [False, False, True]


def test_a_shut_gate_does_not_pass_for_a_fixed_point():
    module = bistable_gru()
    with torch.no_grad():
        module.bias_ih_l0[1] = 40.0  # z = 1 - 4e-18: F(h) - h is rounding everywhere
    recurrence = dynprobe.attach(module).recurrence()
    fp = dynprobe.find_fixed_points(recurrence, torch.linspace(-0.9, 0.9, 19).double()[:, None])
    fixed = fp.unique().states.flatten()
    assert len(fixed) == 3
    # the others are slow, whatever their speed says; it is 0 everywhere
    assert fp.speed.max() == 0
    assert fp.slow.sum() >= 10
    assert (fp.states[fp.converged] - fixed).abs().amin(1).max() <= 1e-6


def test_an_lstm():
    torch.manual_seed(3)
    module = nn.LSTM(2, 4, batch_first=True)
    recurrence = dynprobe.attach(module).recurrence()
    fp = dynprobe.find_fixed_points(recurrence, seeds(20, 8, 0.3))
    state = torch.zeros(1, 8, dtype=torch.float64)
    state = recurrence.rollout(state, state.new_zeros(1, 3000, 2))[:, -1]
    assert fp.converged.all()
    torch.testing.assert_close(fp.unique().states, state, rtol=0, atol=1e-9)


def test_conditions_and_inputs_per_seed():
    system = dynprobe.as_recurrence(lambda s, x: 0.5 * s + x, state_dim=2, input_dim=2)
    held = {"up": torch.tensor([1.0, 0.0]), "down": torch.tensor([-1.0, 0.0])}
    fp = dynprobe.find_fixed_points(system, seeds(6, 2), held)
    assert fp.conditions == ("up", "down")
    assert len(fp) == 12
    unique = fp.unique()
    assert unique.states[:, 0].tolist() == pytest.approx([2.0, -2.0])
    each = torch.arange(12, dtype=torch.float64).reshape(6, 2)
    fp = dynprobe.find_fixed_points(system, seeds(6, 2), each)
    torch.testing.assert_close(fp.states, 2 * each)


def test_one_seed_float32_and_to_dict():
    system, _, fixed = linear_system([0.9, 0.5])
    fp = dynprobe.find_fixed_points(system, torch.zeros(1, 2))
    torch.testing.assert_close(fp.states[0], fixed)
    assert fp.to_dict()["status"] == ["FIXED"]
    assert "1 fixed" in repr(fp)


def test_noise_is_seeded():
    system, _, _ = linear_system([1.0, 0.5])
    a, b, c = (
        dynprobe.find_fixed_points(system, torch.zeros(3, 2), noise=0.1, seed=s).states
        for s in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("start", "inputs", "message"),
    [
        (torch.zeros(0, 2), None, "no seeds"),
        (torch.zeros(3, 5), None, r"needs \(n_seeds, 2\)"),
        (torch.zeros(2), None, r"one seed is seed\[None\]"),
        (torch.tensor([[0.0, float("nan")]]), None, "Seed 0 holds NaN"),
        (torch.zeros(3, 2), torch.zeros(7), r"needed is \(2,\)"),
        (torch.zeros(3, 2), {}, "empty mapping"),
    ],
)
def test_bad_arguments(start, inputs, message):
    system, _, _ = linear_system([0.9, 0.5])
    with pytest.raises(ShapeError, match=message):
        dynprobe.find_fixed_points(system, start, inputs)


def test_a_map_of_the_wrong_shape():
    system = dynprobe.as_recurrence(lambda s, x: s[:, :1], state_dim=2, input_dim=1)
    with pytest.raises(ShapeError, match=r"returned \(1, 1\)"):
        dynprobe.find_fixed_points(system, torch.zeros(3, 2))


def test_no_fixed_point_at_all():
    system = dynprobe.as_recurrence(lambda s, x: s + 1 + s**2, state_dim=1, input_dim=1)
    fp = dynprobe.find_fixed_points(system, seeds(5, 1))
    assert (fp.status == Status.UNCONVERGED).all()
    with pytest.raises(ConvergenceError, match="5 of 5 points did not converge"):
        dynprobe.find_fixed_points(system, seeds(5, 1), throw=True)


def test_an_interrupt_keeps_what_is_done(monkeypatch):
    monkeypatch.setattr("dynprobe.dynamics.condition.CHUNK_BYTES", {"cpu": 8 * 4 * 10})
    system, _, _ = linear_system([0.9, 0.5])

    done = [0]

    def step(s, x):
        if done[0] >= 20:
            raise KeyboardInterrupt
        return system.step(s, x)

    stopped = dynprobe.as_recurrence(step, state_dim=2, input_dim=2)
    fp = dynprobe.find_fixed_points(
        stopped, seeds(40, 2), progress=lambda n, total: done.__setitem__(0, n)
    )
    assert len(fp) == 40
    assert fp.converged[:20].all()
    assert not fp.converged[20:].any()
    assert torch.equal(fp.states[-1], seeds(40, 2)[-1])


def test_the_model_is_unchanged():
    module = nn.GRU(2, 5, batch_first=True)
    module.weight_hh_l0.requires_grad_(False)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), seeds(8, 5, 0.3))
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert [p.requires_grad for p in module.parameters()] == [True, False, True, True]
    assert all(p.grad is None for p in module.parameters())


def test_linearization_modes_are_paired_and_normalised():
    torch.manual_seed(0)
    recurrence = dynprobe.attach(nn.GRU(3, 8)).recurrence()
    states, x = seeds(4, 8, 0.3), seeds(4, 3)
    lin = dynprobe.linearize(recurrence, states, x)
    eye = torch.eye(8).to(lin.left)
    torch.testing.assert_close(lin.left @ lin.right, eye.expand(4, 8, 8), atol=1e-9, rtol=0)
    rebuilt = lin.right @ torch.diag_embed(lin.eigenvalues) @ lin.left
    torch.testing.assert_close(rebuilt.real, lin.jacobian, atol=1e-9, rtol=0)
    assert (lin.eigenvalues.abs().diff(dim=1) <= 1e-12).all()
    # a small step is predicted to second order
    ds, dx = 1e-4 * seeds(4, 8), 1e-4 * seeds(4, 3)
    exact = recurrence.step(states + ds, x + dx) - recurrence.step(states, x)
    linear = (lin.jacobian @ ds[..., None] + lin.input_jacobian @ dx[..., None]).squeeze(-1)
    assert (exact - linear).norm() <= 1e-3 * exact.norm()


def test_time_constants():
    from dynprobe.dynamics.linearization import time_constants

    lam = torch.tensor([math.exp(-1 / 50), 1.0, 0.0, -math.exp(-1 / 3)])
    tau = time_constants(lam)
    assert tau.tolist() == pytest.approx([50.0, math.inf, 0.0, 3.0], rel=1e-4)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((torch.zeros(2, 3),), r"needed is \(points, 2\)"),
        ((torch.zeros(2, 2), torch.zeros(5)), "width of an input is 2"),
    ],
)
def test_linearize_refuses_wrong_widths(args, message):
    system, _, _ = linear_system([0.9, 0.5])
    with pytest.raises(ShapeError, match=message):
        dynprobe.linearize(system, *args)


@pytest.mark.requires("cuda")
def test_on_a_gpu():
    module = nn.GRU(2, 32, batch_first=True).cuda()
    start = seeds(40, 32, 0.5)
    there = dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), start)
    here = dynprobe.find_fixed_points(dynprobe.attach(module.cpu()).recurrence(), start)
    assert there.states.device.type == "cpu"
    torch.testing.assert_close(there.unique().states, here.unique().states, rtol=0, atol=1e-6)
