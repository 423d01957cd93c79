"""The index sum: what it proves, when it is not applicable, and that reseeding finds the rest."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.dynamics.completeness import Verdict, between, index_sum
from dynprobe.testing import linear_system, planted_network, ring_attractor, ring_states


def tanh_network(units, gain, seed):
    module = nn.RNN(1, units, batch_first=True, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weight = torch.randn(units, units, generator=generator, dtype=torch.float64)
        module.weight_hh_l0.copy_(gain / math.sqrt(units) * weight)
        bias = torch.randn(units, generator=generator, dtype=torch.float64)
        module.bias_ih_l0.copy_(0.1 * bias)
        module.bias_hh_l0.zero_()
    return dynprobe.attach(module).recurrence()


def box(n, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, width, generator=generator, dtype=torch.float64) - 1


@pytest.mark.parametrize("seed", range(4))
def test_indices_of_a_tanh_network_sum_to_one(seed):
    system = tanh_network(6, 2.5, seed)
    fp = dynprobe.find_fixed_points(system, box(400, 6))
    (verdict,) = fp.completeness
    assert verdict.verdict == Verdict.CONSISTENT
    unique = fp.unique()
    total = 0
    for jac in system.jacobian(unique.states, unique.inputs):
        values = torch.linalg.eigvals(jac)
        total += (-1) ** int(((values.imag == 0) & (values.real > 1)).sum())
    assert total == verdict.index_sum == 1
    assert index_sum(system, unique.states, unique.inputs) == 1
    assert len(unique) % 2 == 1


def test_a_missing_point_is_noticed_and_new_seeds_find_it():
    # h' = tanh(2 h): two attractors and the origin between them, in each of two units
    module = nn.RNN(1, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.weight_hh_l0.copy_(2 * torch.eye(2))
    system = dynprobe.attach(module).recurrence()
    corners = torch.tensor([[0.9, 0.9], [-0.9, 0.9], [0.9, -0.9], [-0.9, -0.9]]).double()
    alone = dynprobe.find_fixed_points(system, corners, rounds=0)
    assert len(alone.unique()) == 4
    (verdict,) = alone.completeness
    assert verdict.verdict == Verdict.INCOMPLETE
    assert verdict.index_sum == 4
    assert "missing" in str(verdict)
    found = dynprobe.find_fixed_points(system, corners)
    assert len(found.unique()) == 9
    assert found.completeness[0].verdict == Verdict.CONSISTENT
    assert found.completeness[0].rounds >= 1
    assert (found.seed[4:] == -1).all()
    again = dynprobe.find_fixed_points(system, corners)
    assert torch.equal(found.states, again.states)


def test_where_the_sum_says_nothing():
    ring, radius = ring_attractor(64)
    phases = torch.linspace(0, 6, 9, dtype=torch.float64)
    linear, _, _ = linear_system([0.5, 0.9])
    relu = nn.RNN(1, 3, nonlinearity="relu", batch_first=True)
    tanh = tanh_network(3, 1.0, 0)
    for system, seeds, inputs, reason in (
        (dynprobe.attach(ring).recurrence(), ring_states(64, radius, phases), None, "continuum"),
        (linear, box(5, 2), None, "no box"),
        (dynprobe.attach(relu).recurrence(), box(5, 3), None, "no box"),
        (tanh, box(5, 3), torch.linspace(-1, 1, 5)[:, None], "input of its own"),
    ):
        (verdict,) = dynprobe.find_fixed_points(system, seeds, inputs).completeness
        assert verdict.verdict == Verdict.NOT_APPLICABLE
        assert verdict.index_sum is None
        assert reason in verdict.reason


def test_one_verdict_for_each_condition():
    system = tanh_network(3, 2.0, 1)
    conditions = {"zero": torch.zeros(1), "pushed": torch.ones(1)}
    fp = dynprobe.find_fixed_points(system, box(60, 3), conditions)
    assert [c.condition for c in fp.completeness] == ["zero", "pushed"]
    assert fp.to_dict()["completeness"][1]["verdict"] == "consistent"


def test_new_seeds_lie_between_the_points():
    known = box(5, 3)
    generator = torch.Generator().manual_seed(0)
    seeds = between(known, 500, 0.0, generator)
    assert (seeds <= known.amax(0) + 1e-12).all()
    assert (seeds >= known.amin(0) - 1e-12).all()
    assert torch.cdist(seeds, known).amin(1).median() > 0.05


def test_a_planted_network_of_a_thousand_units():
    module, planted = planted_network(1000)
    generator = torch.Generator().manual_seed(1)
    seeds = planted[torch.arange(20) % 5]
    seeds = seeds + 0.3 * torch.randn(seeds.shape, generator=generator, dtype=torch.float64)
    fp = dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), seeds)
    assert fp.converged.all()
    unique = fp.unique()
    assert len(unique) == 5
    distance = (unique.states[:, None] - planted[None]).norm(dim=-1)
    assert distance.amin(0).max() <= 1e-9
    assert unique.speed.max() <= 1e-20
    assert fp.completeness[0].verdict == Verdict.INCOMPLETE  # the origin, to begin with
