"""What a first version got wrong: wild seeds, non-normal maps, broken Jacobians, false verdicts."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe import Status
from dynprobe.dynamics.completeness import Verdict
from dynprobe.errors import ShapeError

D = torch.float64


def network(weight):
    """h' = tanh(W h)."""
    module = nn.RNN(1, len(weight), batch_first=True, dtype=D)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.weight_hh_l0.copy_(weight)
    return dynprobe.attach(module).recurrence()


def function(f, n):
    return dynprobe.as_recurrence(f, state_dim=n, input_dim=1)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=D)


@pytest.mark.parametrize("outlier", [1.0, 1e3, 1e6])
def test_one_wild_seed_does_not_blur_the_others(outlier):
    seeds = normal(400, 4)
    seeds[0] = outlier
    fp = dynprobe.find_fixed_points(network(2 * torch.eye(4, dtype=D)), seeds)
    assert len(fp.unique()) == 81  # three in each of four units
    assert fp.completeness[0].verdict == Verdict.CONSISTENT


@pytest.mark.parametrize("size", [1e-4, 1e-2, 1e2, 1e5])
def test_seeds_of_another_size_than_the_states(size):
    fp = dynprobe.find_fixed_points(network(2 * torch.eye(3, dtype=D)), size * normal(200, 3))
    assert len(fp.unique()) == 27
    assert fp.unique().speed.max() <= 1e-20
    unbounded = function(lambda s, x: 0.5 * s + 300.0, 2)
    found = dynprobe.find_fixed_points(unbounded, size * normal(20, 2))
    assert found.converged.all()
    assert (found.states - 600).abs().max() <= 1e-6


def test_seeds_beyond_float64():
    with pytest.raises(ShapeError, match="too large"):
        dynprobe.find_fixed_points(
            function(lambda s, x: 0.5 * s, 2), torch.full((3, 2), 1e200, dtype=D)
        )


def test_a_nearly_singular_jacobian_is_no_continuum():
    chain = 0.8 * torch.eye(12, dtype=D) + torch.diag(torch.full((11,), 0.9, dtype=D), 1)
    fp = dynprobe.find_fixed_points(network(chain), 0.1 * normal(6, 12))
    assert fp.converged.all()
    assert fp.isolated.all()
    assert not fp.null_dims.any()
    assert len(fp.unique()) == 1
    assert fp.completeness[0].verdict == Verdict.CONSISTENT


def test_a_degenerate_fixed_point_is_isolated_and_its_index_undetermined():
    fp = dynprobe.find_fixed_points(network(torch.eye(1, dtype=D)), torch.zeros(1, 1))
    assert fp.converged.all()
    assert fp.isolated.all()
    assert fp.completeness[0].verdict == Verdict.UNDETERMINED


def test_a_non_normal_map_has_no_slow_points():
    # its eigenvalues are 0.5; the singular value of I - J is small, and nothing lingers
    shear = torch.tensor([[0.5, 20.0], [0.0, 0.5]], dtype=D)
    fp = dynprobe.find_fixed_points(network(shear), 0.05 * normal(20, 2))
    assert fp.count(Status.SLOW) == 0


@pytest.mark.parametrize("gain", [0.3, 0.42])
def test_a_feed_forward_chain_keeps_its_fixed_point(gain):
    """Its pivots are 1 and its condition up to 1e12: a factorisation in float32 loses it."""
    n = 80
    weight = gain * torch.triu(torch.ones(n, n, dtype=D), 1)
    drive = 0.1 * normal(n) - 0.7 * weight.sum(1)

    def chain(s, x):
        return torch.nn.functional.softplus(s) @ weight.T + drive

    there = torch.zeros(1, n, dtype=D)
    for _ in range(n):  # exact after as many steps as the chain is long
        there = chain(there, None)
    seeds = there + 0.1 * there.norm() / n**0.5 * normal(20, n, seed=1)
    fp = dynprobe.find_fixed_points(function(chain, n), seeds)
    assert fp.converged[:20].all()
    assert (fp.states[:20] - there).abs().max() <= 1e-6 * there.abs().max()


def test_a_seed_with_a_broken_jacobian_costs_only_itself():
    seeds = torch.rand(20, 1, generator=torch.Generator().manual_seed(0), dtype=D) + 0.5
    seeds[7] = -0.5  # its root is NaN
    fp = dynprobe.find_fixed_points(function(lambda s, x: 0.5 * s.sqrt() + 0.1, 1), seeds)
    assert fp.converged[:20].sum() == 19
    assert fp.status[7] == Status.UNCONVERGED
    json.dumps(fp.to_dict(), allow_nan=False)


def test_a_diverging_seed_does_not_take_the_second_try_from_the_others():
    def far(s, x):
        bumpy = 0.2 + 0.27 * torch.sin(40 * (s - 0.2)) * torch.exp(-((s - 0.2) ** 2))
        return torch.where(s.abs() < 3, bumpy, s**3)

    seeds = torch.linspace(-2.9, 2.9, 60, dtype=D)[:, None]
    alone = dynprobe.find_fixed_points(function(far, 1), seeds, max_iter=2)
    beside = dynprobe.find_fixed_points(
        function(far, 1), torch.cat([seeds, torch.full((1, 1), 50.0, dtype=D)]), max_iter=2
    )
    assert alone.converged[:60].sum() >= 50
    assert beside.converged[:60].sum() >= 50


def test_an_infinite_box_is_none():
    module = nn.LSTM(1, 2, batch_first=True, dtype=D)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.bias_ih_l0[2:4] = 100.0  # forget gates of exactly 1
        module.bias_ih_l0[4:6] = 1.0
    fp = dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), normal(5, 4))
    assert fp.completeness[0].verdict == Verdict.NOT_APPLICABLE
    assert "box" in fp.completeness[0].reason


def test_an_interrupted_affine_search_says_so():
    calls = [0]

    class Decay(dynprobe.Recurrence):
        layout = dynprobe.Layout.of(s=2)
        input_dim = 1

        def step(self, state, x):
            return 0.9 * state + x

        def affine(self, x):
            from dynprobe.dynamics.affine import DiagonalMap

            calls[0] += 1
            if calls[0] == 3:
                raise KeyboardInterrupt
            return DiagonalMap(torch.full((len(x), 2), 0.9, dtype=x.dtype), x.expand(-1, 2))

    fp = dynprobe.find_fixed_points(Decay(), normal(4, 2))
    assert fp.completeness[0].verdict == Verdict.NOT_APPLICABLE
    assert "interrupted" in fp.completeness[0].reason


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": torch.tensor([torch.nan])}, ShapeError, "NaN"),
        ({"tol": -1.0}, ValueError, "tol"),
        ({"tol": math.nan}, ValueError, "tol"),
        ({"noise": math.inf}, ValueError, "noise"),
        ({"max_iter": 0}, ValueError, "max_iter"),
    ],
)
def test_arguments_are_checked(arguments, error, message):
    system = function(lambda s, x: 0.5 * s, 2)
    with pytest.raises(error, match=message):
        dynprobe.find_fixed_points(system, normal(3, 2), **arguments)


def test_a_jacobian_of_the_wrong_shape_has_a_name():
    class Wrong(dynprobe.Recurrence):
        layout = dynprobe.Layout.of(s=2)
        input_dim = 1

        def step(self, state, x):
            return 0.5 * state

        def jacobian(self, state, x):
            return torch.zeros(len(state), 3, 2, dtype=state.dtype)

    with pytest.raises(ShapeError, match=r"jacobian gave shape \(1, 3, 2\)"):
        dynprobe.find_fixed_points(Wrong(), normal(3, 2))


def test_seeds_from_elsewhere_and_picking_points():
    system = network(2 * torch.eye(2, dtype=D))
    fp = dynprobe.find_fixed_points(system, normal(50, 2).numpy())
    assert fp.completeness
    assert not fp[:3].completeness  # what is true of all is not of some
    assert fp.unique().completeness == fp.completeness
    with pytest.raises(ShapeError, match="One point is"):
        fp[0]
    with pytest.raises(ShapeError, match="real numbers"):
        dynprobe.find_fixed_points(system, torch.zeros(3, 2, dtype=torch.complex128))
