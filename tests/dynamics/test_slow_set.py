"""The dimension of points at rest depends on how slow one asks them to be."""

from __future__ import annotations

import math

import torch

import dynprobe
from dynprobe.testing import ring_attractor, ring_states


def ring(noise):
    module, radius = ring_attractor(64, noise=noise)
    phases = 2 * math.pi * torch.rand(60, generator=torch.Generator().manual_seed(0)).double()
    recurrence = dynprobe.attach(module).recurrence()
    found = dynprobe.find_fixed_points(recurrence, ring_states(64, radius, phases), noise=0.02)
    return found[:60]


def test_an_exact_ring_has_two_dimensions_at_every_cut():
    found = ring(0.0).slow_set()
    assert (found.counts == 60).all()
    assert (found.components_95 == 2).all()
    assert (found.participation_ratio > 1.8).all()


def test_a_noisy_ring_is_a_few_points_at_a_strict_cut_and_a_ring_at_a_loose_one():
    found = ring(1e-3).slow_set()
    assert int(found.counts[0]) <= 10
    assert int(found.counts[-1]) == 60
    assert (found.counts.diff() >= 0).all()
    assert found.components_95[-1] == 2
    asked = ring(1e-3).slow_set(torch.tensor([1e-4, 1e-20], dtype=torch.float64))
    assert asked.cuts.tolist() == [1e-20, 1e-4]
    assert asked.participation_ratio[-1] == found.participation_ratio[-1]


def test_points_at_one_place_have_no_dimension():
    system = dynprobe.as_recurrence(lambda s, x: 0.5 * s, state_dim=3, input_dim=1)
    seeds = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    found = dynprobe.find_fixed_points(system, seeds).slow_set()
    assert found.counts[-1] == 20
    assert found.participation_ratio.isnan().all()
    assert not found.components_95.any()
