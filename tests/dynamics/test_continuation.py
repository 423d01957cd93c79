"""Branches of fixed points: folds, branch points and stability against closed forms."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.dynamics.marks import Kind
from dynprobe.errors import ConvergenceError, ShapeError
from dynprobe.testing import linear_system, ring_attractor, ring_states

GRID = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None]


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def one_unit(weight):
    return dynprobe.as_recurrence(lambda s, x: torch.tanh(weight * s + x), state_dim=1, input_dim=1)


def pitchfork():
    return dynprobe.as_recurrence(lambda s, x: torch.tanh(x * s), state_dim=1, input_dim=1)


@pytest.mark.parametrize("weight", [1.05, 2.0, 5.0])
def test_folds_of_one_tanh_unit_are_where_the_formula_says(weight):
    recurrence = one_unit(weight)
    h = math.sqrt(1 - 1 / weight)
    x = math.atanh(h) - weight * h  # of the upper fold, negative
    far = 2 * abs(x)
    low = dynprobe.find_fixed_points(recurrence, GRID, vector(-far))
    assert len(low.unique()) == 1
    (branch,) = dynprobe.continue_fixed_points(recurrence, low, vector(far))
    assert [m.kind for m in branch.marks] == [Kind.FOLD, Kind.FOLD]
    assert [float(m.state) for m in branch.folds] == pytest.approx([-h, h], abs=1e-8)
    assert [float(m.input) for m in branch.folds] == pytest.approx([-x, x], abs=1e-10)
    assert [m.position for m in branch.folds] == pytest.approx(
        [(far - x) / (2 * far), (far + x) / (2 * far)], abs=1e-10
    )
    # one eigenvalue, w (1 - h^2): outside the unit circle between the folds and nowhere else
    eigenvalue = weight * (1 - branch.states[:, 0].square())
    assert torch.equal(branch.n_unstable, (eigenvalue > 1).long())
    torch.testing.assert_close(branch.spectral_radius, eigenvalue)
    first, second = (m.after for m in branch.folds)
    assert branch.stable[: first + 1].all()
    assert branch.stable[second + 1 :].all()
    assert not branch.stable[first + 1 : second + 1].any()
    # and every point is on the curve h = tanh(w h + x)
    on = torch.tanh(weight * branch.states + branch.inputs)
    torch.testing.assert_close(branch.states, on, atol=1e-12, rtol=0)
    assert branch.position[[0, -1]].tolist() == pytest.approx([0, 1], abs=1e-12)


def test_points_of_one_branch_are_merged():
    recurrence = one_unit(2.0)
    fp = dynprobe.find_fixed_points(recurrence, GRID)
    assert len(fp.unique()) == 3
    (branch,) = dynprobe.continue_fixed_points(recurrence, fp, vector(1.5), between=(-1, 1))
    assert sorted(branch.starts) == [0, 1, 2]
    assert len(branch.folds) == 2
    # forward only, two of them meet at the fold and one goes on alone
    branches = dynprobe.continue_fixed_points(recurrence, fp, vector(1.5))
    assert sorted(len(b.starts) for b in branches) == [1, 2]
    assert sorted(i for b in branches for i in b.starts) == [0, 1, 2]
    meeting = max(branches, key=lambda b: len(b.starts))
    assert all("mu = 0" in end for end in meeting.ends)


def test_a_pitchfork_is_a_branch_point_on_both_of_its_branches():
    fp = dynprobe.find_fixed_points(pitchfork(), GRID, vector(2.0))
    branches = dynprobe.continue_fixed_points(pitchfork(), fp, vector(0.5))
    assert len(branches) == 2
    for branch in branches:  # s' = tanh(x s): at s = 0, x = 1; mu = 2/3 between 2 and 0.5
        (mark,) = branch.marks
        assert mark.kind == Kind.BRANCH_POINT
        assert float(mark.input) == pytest.approx(1, abs=1e-8)
        assert mark.position == pytest.approx(2 / 3, abs=1e-8)
        assert float(mark.state) == pytest.approx(0, abs=1e-8)
    straight = next(b for b in branches if b.states.abs().max() < 1e-9)
    assert torch.equal(straight.n_unstable, (straight.inputs[:, 0] > 1).long())
    arms = next(b for b in branches if b is not straight)
    assert len(arms.starts) == 2
    assert arms.stable.all()


def test_a_broken_pitchfork_is_not_jumped_across():
    """s' = tanh(x s + 1e-4): the branches come near each other, and do not touch."""
    recurrence = dynprobe.as_recurrence(
        lambda s, x: torch.tanh(x * s + 1e-4), state_dim=1, input_dim=1
    )
    fp = dynprobe.find_fixed_points(recurrence, GRID, vector(2.0))
    branches = dynprobe.continue_fixed_points(recurrence, fp, vector(0.5))
    assert len(branches) == 2
    assert len(branches.branch_points) == 0
    assert len(branches.folds) == 1
    upper = next(b for b in branches if not b.folds)
    assert upper.states.min() > 0
    assert upper.stable.all()


def test_a_closed_branch_comes_back_to_its_start():
    """Fixed points on the circle s^2 + x^2 = 1."""
    circle = dynprobe.as_recurrence(
        lambda s, x: s + 0.3 * (1 - s * s - x * x), state_dim=1, input_dim=1
    )
    starts = torch.tensor([[1.0], [-1.0]])
    (branch,) = dynprobe.continue_fixed_points(circle, starts, vector(1.0), between=(-2, 2))
    assert branch.closed
    assert branch.starts == (0, 1)
    assert [m.position for m in branch.folds] == pytest.approx([1, -1], abs=1e-10)
    radius = branch.states.square() + branch.inputs.square()
    torch.testing.assert_close(radius, torch.ones_like(radius), atol=1e-9, rtol=0)


def test_fixed_points_of_an_affine_map_move_on_a_straight_line():
    system, matrix, fixed = linear_system([0.9, 0.5, -0.7, 1.2])
    to = vector(1.0, -2.0, 0.5, 3.0)
    fp = dynprobe.find_fixed_points(system, torch.randn(5, 4, dtype=torch.float64))
    (branch,) = dynprobe.continue_fixed_points(system, fp, to, between=(-1, 2))
    moved = torch.linalg.solve(torch.eye(4, dtype=torch.float64) - matrix, to)
    expected = fixed + branch.position[:, None] * moved
    torch.testing.assert_close(branch.states, expected, atol=1e-9, rtol=1e-9)
    assert branch.marks == ()
    assert (branch.n_unstable == 1).all()
    assert branch.position[[0, -1]].tolist() == pytest.approx([-1, 2], abs=1e-12)


def bistable_gru(units=8):
    module = nn.GRU(1, units, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        module.weight_hh_l0.mul_(0.3)
        module.weight_hh_l0[2 * units :] += 2.8 / units
    return dynprobe.attach(module).recurrence()


def test_a_bistable_gru_against_searches_at_inputs_on_the_way():
    recurrence = bistable_gru()
    fp = dynprobe.find_fixed_points(recurrence, torch.randn(64, 8, dtype=torch.float64))
    branches = dynprobe.continue_fixed_points(recurrence, fp, vector(4.0), between=(-1, 1))
    assert len(branches.folds) == 2
    for branch in branches:
        residual = recurrence.step(branch.states, branch.inputs) - branch.states
        assert residual.abs().max() <= 1e-10
        for mark in branch.folds:  # an eigenvalue of the map is 1
            jac = recurrence.jacobian(mark.state[None], mark.input[None])
            assert (torch.linalg.eigvals(jac) - 1).abs().min() <= 1e-8
    for mu in (-0.9, -0.3, 0.2, 0.9):
        seeds = torch.randn(64, 8, dtype=torch.float64)
        searched = dynprobe.find_fixed_points(recurrence, seeds, vector(4 * mu)).unique()
        crossings = sum(
            int(((b.position[:-1] - mu) * (b.position[1:] - mu) < 0).sum()) for b in branches
        )
        assert crossings == len(searched)


def test_halving_the_steps_changes_no_mark():
    recurrence = bistable_gru()
    fp = dynprobe.find_fixed_points(recurrence, torch.randn(64, 8, dtype=torch.float64))
    found = [
        sorted(
            m.position
            for m in dynprobe.continue_fixed_points(
                recurrence, fp, vector(4.0), between=(-1, 1), max_step=step
            ).folds
        )
        for step in (0.2, 0.05)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-10)


def test_why_a_branch_ends_is_said():
    """s' = x s + 1 has its fixed point at 1 / (1 - x): a pole at x = 1."""
    pole = dynprobe.as_recurrence(lambda s, x: x * s + 1, state_dim=1, input_dim=1)
    start = torch.ones(1, 1)
    (branch,) = dynprobe.continue_fixed_points(pole, start, vector(2.0), max_step=10.0)
    assert "grew beyond" in branch.ends[1]
    assert branch.position.max() < 0.5
    (short,) = dynprobe.continue_fixed_points(one_unit(0.5), 0 * start, vector(1.0), max_points=3)
    assert "max_points" in short.ends[1]
    assert len(short) == 3
    jump = dynprobe.as_recurrence(
        lambda s, x: 0.5 * s + torch.where(x < 0.5, x, x - 1), state_dim=1, input_dim=1
    )
    (stopped,) = dynprobe.continue_fixed_points(jump, 0 * start, vector(1.0))
    assert "no step succeeds" in stopped.ends[1]
    assert float(stopped.position[-1]) == pytest.approx(0.5, abs=1e-6)


def test_a_continuum_has_no_single_way_to_go():
    module, radius = ring_attractor(64)
    recurrence = dynprobe.attach(module).recurrence()
    states = ring_states(64, radius, torch.tensor([0.0, 1.0], dtype=torch.float64))
    branches = dynprobe.continue_fixed_points(recurrence, states, vector(1.0))
    assert [len(b) for b in branches] == [1, 1]
    assert all("continuum" in b.ends[0] for b in branches)


def test_kinks_of_a_relu_network_are_crossed():
    torch.manual_seed(0)
    module = nn.RNN(2, 12, batch_first=True, nonlinearity="relu", dtype=torch.float64)
    recurrence = dynprobe.attach(module).recurrence()
    to = vector(6.0, -4.0)
    fp = dynprobe.find_fixed_points(recurrence, torch.rand(16, 12, dtype=torch.float64))
    (branch,) = dynprobe.continue_fixed_points(recurrence, fp, to, between=(-1, 1))
    assert branch.position[[0, -1]].tolist() == pytest.approx([-1, 1], abs=1e-12)
    assert branch.marks == ()
    residual = recurrence.step(branch.states, branch.inputs) - branch.states
    assert residual.abs().max() <= 1e-10
    active = recurrence.step(branch.states, branch.inputs) > 0
    assert (active[1:] != active[:-1]).any(1).sum() >= 2  # kinks there were
    for end in (0, -1):
        held = branch.inputs[end]
        searched = dynprobe.find_fixed_points(recurrence, fp.states, held).unique()
        torch.testing.assert_close(searched.states[0], branch.states[end], atol=1e-9, rtol=0)


def test_a_map_that_ignores_its_input_stays_where_it_is():
    deaf = dynprobe.as_recurrence(lambda s, x: torch.tanh(0.5 * s), state_dim=2, input_dim=1)
    (branch,) = dynprobe.continue_fixed_points(deaf, torch.zeros(1, 2), vector(1.0))
    assert branch.states.abs().max() == 0
    assert float(branch.position[-1]) == pytest.approx(1)


def test_many_units_and_a_float32_model():
    torch.manual_seed(0)
    module = nn.GRU(2, 200, batch_first=True)
    recurrence = dynprobe.attach(module).recurrence()
    fp = dynprobe.find_fixed_points(recurrence, torch.randn(4, 200))
    (branch,) = dynprobe.continue_fixed_points(recurrence, fp, torch.tensor([3.0, -2.0]))
    residual = recurrence.step(branch.states, branch.inputs) - branch.states
    assert residual.abs().max() <= 1e-12
    end = dynprobe.find_fixed_points(recurrence, torch.randn(4, 200), torch.tensor([3.0, -2.0]))
    torch.testing.assert_close(branch.states[-1], end.unique().states[0], atol=1e-8, rtol=0)


def test_results_are_plain_in_json():
    recurrence = one_unit(2.0)
    low = dynprobe.find_fixed_points(recurrence, GRID, vector(-1.0))
    branches = dynprobe.continue_fixed_points(recurrence, low, vector(1.0))
    back = json.loads(json.dumps(branches.to_dict()))
    assert [m["kind"] for m in back["branches"][0]["marks"]] == ["fold", "fold"]
    assert repr(branches) == "Branches(1 branches, 2 folds, 0 branch points)"
    assert "2 folds" in repr(branches[0])


def test_bad_input_is_named():
    recurrence = one_unit(2.0)
    origin, to = torch.zeros(1, 1), vector(1.0)

    def follow(points=origin, to=to, **options):
        return dynprobe.continue_fixed_points(recurrence, points, to, **options)

    with pytest.raises(ShapeError, match=r"to has shape \(2,\)"):
        follow(to=vector(1.0, 2.0))
    with pytest.raises(ShapeError, match="inputs has shape"):
        follow(inputs=vector(1.0, 2.0))
    with pytest.raises(ShapeError, match="to holds NaN"):
        follow(to=vector(math.nan))
    with pytest.raises(ShapeError, match="very input"):
        follow(to=vector(0.0))
    with pytest.raises(ShapeError, match="There are no states"):
        follow(torch.zeros(0, 1))
    with pytest.raises(ShapeError, match=r"needs \(points, 1\)"):
        follow(torch.zeros(1, 2))
    with pytest.raises(ShapeError, match="State 0 holds NaN"):
        follow(origin * math.nan)
    with pytest.raises(ShapeError, match="between"):
        follow(between=(0.5, 1.0))
    with pytest.raises(ConvergenceError, match="Point 0 is no fixed point"):
        follow(torch.full((1, 1), 0.5))
    with pytest.raises(ShapeError, match="max_step"):
        follow(max_step=0.0)
    with pytest.raises(ShapeError, match="max_points"):
        follow(max_points=1)
    fp = dynprobe.find_fixed_points(recurrence, GRID)
    with pytest.raises(ShapeError, match="give none"):
        follow(fp, inputs=vector(0.0))
    with pytest.raises(ShapeError, match="None of these points is FIXED"):
        follow(fp[fp.slow])
