"""Periodic orbits against closed forms and brute force."""

from __future__ import annotations

import json
import math

import pytest
import torch
from oracles import distinct, polished
from torch import nn

import dynprobe
from dynprobe.dynamics.affine import DiagonalMap
from dynprobe.dynamics.completeness import Verdict
from dynprobe.dynamics.iterated import IteratedMap
from dynprobe.dynamics.maps import autograd_jacobian
from dynprobe.errors import ShapeError
from dynprobe.testing import linear_system

UNIT = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)[:, None]


def logistic(r):
    return dynprobe.as_recurrence(lambda s, x: r * s * (1 - s) + x, state_dim=1, input_dim=1)


def tanh_network(weight):
    module = nn.RNN(1, len(weight), batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(weight if name == "weight_hh_l0" else torch.zeros_like(p))
    return dynprobe.attach(module).recurrence()


def test_period_two_of_the_logistic_map_is_the_closed_form():
    r = 3.2
    orbits = dynprobe.find_periodic_points(logistic(r), UNIT, 2)
    assert len(orbits) == 1
    root = math.sqrt((r - 3) * (r + 1))
    expected = [(r + 1 - root) / (2 * r), (r + 1 + root) / (2 * r)]
    assert sorted(orbits.states.flatten().tolist()) == pytest.approx(expected, abs=1e-10)
    multiplier = 4 + 2 * r - r * r
    assert complex(orbits.multipliers[0, 0]) == pytest.approx(multiplier, abs=1e-8)
    assert orbits.stable.tolist() == [True]
    assert orbits.n_unstable.tolist() == [0]
    assert orbits.isolated.tolist() == [True]
    assert orbits.speed.max() <= 1e-20
    assert orbits.divisors == {1: 2}  # 0 and 1 - 1/r return too, and are no orbits of period two


def test_the_window_of_period_three_has_one_stable_and_one_unstable_orbit():
    recurrence = logistic(3.83)
    orbits = dynprobe.find_periodic_points(recurrence, UNIT, 3)
    assert len(orbits) == 2
    assert sorted(orbits.stable.tolist()) == [False, True]
    assert orbits.divisors == {1: 2}
    x = torch.zeros(2, 1, dtype=torch.float64)
    for now, after in ((0, 1), (1, 2), (2, 0)):
        following = recurrence.step(orbits.states[:, now], x)
        torch.testing.assert_close(following, orbits.states[:, after], atol=1e-9, rtol=0)
    product = (3.83 * (1 - 2 * orbits.states[..., 0])).prod(1)
    torch.testing.assert_close(orbits.multipliers[:, 0].real, product, atol=1e-8, rtol=1e-8)
    # a state run for long ends on the stable one
    end = recurrence.rollout(UNIT[:1], torch.zeros(1, 3000, 1, dtype=torch.float64))[0, -3:, 0]
    stable = orbits.states[orbits.stable][0, :, 0]
    assert sorted(end.tolist()) == pytest.approx(sorted(stable.tolist()), abs=1e-9)


def test_all_zeros_of_the_sixth_iterate_are_found_and_sorted_by_period():
    """F^6 - s of the logistic map changes its sign 21 times inside the unit interval, and is 0."""
    recurrence = logistic(3.83)
    s = torch.linspace(1e-4, 1, 400_001, dtype=torch.float64)[:, None]
    r = IteratedMap(recurrence, 6).step(s, torch.zeros(1, 1, dtype=torch.float64)) - s
    zeros = int((r[1:] * r[:-1] < 0).sum())
    orbits = dynprobe.find_periodic_points(recurrence, UNIT, 6)
    assert orbits.divisors == {1: 2, 2: 2, 3: 6}
    assert 6 * len(orbits) + 2 + 2 + 6 == zeros + 1


@pytest.mark.parametrize("weight", [-1.2, -2.0, -4.0])
def test_an_inhibiting_unit_alternates(weight):
    orbits = dynprobe.find_periodic_points(
        tanh_network(torch.tensor([[weight]], dtype=torch.float64)), 2 * UNIT - 1, 2
    )
    a = 0.5
    for _ in range(2000):
        a = math.tanh(-weight * a)
    assert sorted(orbits.states.flatten().tolist()) == pytest.approx([-a, a], abs=1e-9)
    assert float(orbits.multipliers.real) == pytest.approx((weight * (1 - a * a)) ** 2, abs=1e-8)
    assert orbits.completeness.verdict == Verdict.CONSISTENT
    assert orbits.divisors == {1: 1}


def test_a_turning_network_of_two_units_against_brute_force():
    """Zeros of F^4 - s by sign changes on a grid."""
    recurrence = tanh_network(torch.tensor([[0.4, -2.2], [1.9, 0.3]]))
    seeds = 2 * torch.rand(200, 2, dtype=torch.float64) - 1
    orbits = dynprobe.find_periodic_points(recurrence, seeds, 4)
    iterated = IteratedMap(recurrence, 4)

    def residual(s):
        return iterated.step(s, s.new_zeros(len(s), 1)) - s

    grid = torch.linspace(-1, 1, 1001, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    r = residual(points).reshape(1001, 1001, 2)
    corners = torch.stack([r[:-1, :-1], r[1:, :-1], r[:-1, 1:], r[1:, 1:]])
    change = ((corners.amin(0) <= 0) & (corners.amax(0) >= 0)).all(-1)
    near = points.reshape(1001, 1001, 2)[:-1, :-1][change] + 1e-3
    found = polished(
        lambda s: residual(s) + s,
        lambda s: autograd_jacobian(lambda t: residual(t) + t, s),
        near,
        scale=1.0,
    )
    x = torch.zeros(len(found), 1, dtype=torch.float64)
    of_two = (IteratedMap(recurrence, 2).step(found, x) - found).norm(dim=1) > 1e-6
    expected = found[of_two]
    assert len(expected) == 4 * len(orbits) == 8
    distance = torch.cdist(orbits.states.flatten(0, 1), expected)
    assert distance.amin(1).max() <= 1e-9
    assert len(distinct(orbits.states.flatten(0, 1), 1e-6)) == 8
    assert orbits.stable.sum() == 1
    assert orbits.divisors[1] == len(found) - len(expected) == 1
    assert orbits.completeness.verdict == Verdict.CONSISTENT


def test_the_jacobians_of_an_iterated_map_are_products_along_the_orbit():
    weight = torch.randn(5, 5)
    iterated = IteratedMap(tanh_network(weight), 3)
    s = 0.5 * torch.randn(4, 5, dtype=torch.float64)
    x = torch.randn(4, 1, dtype=torch.float64)
    by_state = autograd_jacobian(lambda t: iterated.step(t, x), s)
    torch.testing.assert_close(iterated.jacobian(s, x), by_state)
    by_input = autograd_jacobian(lambda u: iterated.step(s, u), x)
    torch.testing.assert_close(iterated.input_jacobian(s, x), by_input)
    torch.testing.assert_close(iterated.orbit(s, x)[:, 1], iterated.system.step(s, x))


def test_the_input_held_matters():
    """s' = r s (1 - s) + x moves the window in which period two is stable."""
    without = dynprobe.find_periodic_points(logistic(2.9), UNIT, 2)
    assert len(without) == 0
    with_input = dynprobe.find_periodic_points(logistic(2.9), UNIT, 2, torch.tensor([0.1]))
    assert len(with_input) == 1
    assert with_input.input.tolist() == pytest.approx([0.1])


def test_period_one_gives_the_fixed_points():
    orbits = dynprobe.find_periodic_points(logistic(3.2), UNIT, 1)
    assert sorted(orbits.states.flatten().tolist()) == pytest.approx([0, 1 - 1 / 3.2], abs=1e-9)
    assert orbits.divisors == {}


def test_orbits_of_a_continuum_are_not_called_isolated():
    """s' = -s: every point returns after two steps."""
    turning = dynprobe.as_recurrence(lambda s, x: -s, state_dim=1, input_dim=1)
    orbits = dynprobe.find_periodic_points(turning, UNIT[:5], 2)
    assert len(orbits) == 5
    assert not orbits.isolated.any()


class Leaky(dynprobe.Recurrence):
    """s' = decay * s + 1, known to be affine."""

    decay = torch.tensor([0.5, -1.0, 0.1], dtype=torch.float64)
    layout = dynprobe.Layout.of(s=3)
    input_dim = 1

    def step(self, state, x):
        return self.decay * state + 1

    def affine(self, x):
        return DiagonalMap(self.decay.expand(len(x), -1), torch.ones(len(x), 3).to(x))


@pytest.mark.parametrize("system", [linear_system([0.5, -0.9, 0.1])[0], Leaky()])
def test_an_affine_map_has_no_orbit_but_its_fixed_point(system):
    orbits = dynprobe.find_periodic_points(system, torch.randn(4, 3, dtype=torch.float64), 2)
    assert len(orbits) == 0
    assert orbits.divisors == {1: 1}


def test_results_are_plain_in_json():
    orbits = dynprobe.find_periodic_points(logistic(3.2), UNIT, 2)
    back = json.loads(json.dumps(orbits.to_dict()))
    assert back["period"] == 2
    assert back["divisors"] == {"1": 2}
    text = "PeriodicOrbits(1 of period 2, 1 stable; also 2 points of period 1)"
    assert repr(orbits) == text


@pytest.mark.parametrize("period", [0, -2, 1.5, True])
def test_a_period_that_is_none_is_refused(period):
    with pytest.raises(ShapeError, match="period="):
        dynprobe.find_periodic_points(logistic(3.2), UNIT, period)


def test_bad_input_is_named():
    recurrence = logistic(3.2)
    with pytest.raises(ShapeError, match="no seeds"):
        dynprobe.find_periodic_points(recurrence, UNIT[:0], 2)
    with pytest.raises(ShapeError, match=r"needs \(n_seeds, 1\)"):
        dynprobe.find_periodic_points(recurrence, UNIT.T, 2)
    with pytest.raises(ShapeError, match="NaN"):
        dynprobe.find_periodic_points(recurrence, UNIT * math.nan, 2)
    for bad in (torch.zeros(2), torch.zeros(50, 1), torch.tensor([math.inf])):
        with pytest.raises(ShapeError, match="one input held"):
            dynprobe.find_periodic_points(recurrence, UNIT, 2, bad)
