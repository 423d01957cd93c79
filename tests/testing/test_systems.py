"""Every system with a known answer, found by the library's own analyses."""

from __future__ import annotations

import math

import pytest
import torch

import dynprobe
from dynprobe.dynamics.certificate import Status
from dynprobe.geometry.subspaces import orthonormal, share_inside
from dynprobe.testing import (
    gated_linear,
    limit_cycle,
    line_attractor,
    plane_attractor,
    planted_network,
    ring_attractor,
    ring_states,
)

GENERATOR = torch.Generator


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=GENERATOR().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("system", "k"), [(line_attractor, 1), (plane_attractor, 2)])
def test_a_continuum_is_found_with_its_dimension_and_direction(system, k):
    recurrence, answer = system(8)
    resting = answer.states(drawn(20, k))
    torch.testing.assert_close(recurrence.step(resting, torch.zeros_like(resting)), resting)
    fp = dynprobe.find_fixed_points(recurrence, resting + 0.1 * drawn(20, 8, seed=1))
    assert bool(fp.converged.all())
    assert not bool(fp.isolated.any())
    assert fp.null_dims.tolist() == [k] * 20
    assert float(answer.distance(fp.states).max()) < 1e-9
    lin = dynprobe.linearize(recurrence, fp[:1])
    torch.testing.assert_close(
        lin.eigenvalues[0].real.sort().values, answer.eigenvalues.sort().values
    )


@pytest.mark.parametrize(("system", "k"), [(line_attractor, 1), (plane_attractor, 2)])
def test_its_integrating_modes_are_in_the_report(system, k):
    recurrence, answer = system(8)
    pushes = 0.1 * drawn(30, 25, k) @ answer.directions
    states = recurrence.rollout(answer.point.expand(30, 8), pushes)
    assert float(answer.distance(states.flatten(0, 1)).max()) < 1e-9
    rec = dynprobe.Recording.from_arrays(states, inputs=pushes)
    report = dynprobe.analyze(
        rec, ["integration_direction", "manifold_dimension"], recurrence=recurrence
    )
    assert report["integration_direction"].n_integrating == k
    plane = report["manifold_dimension"].visited.components[:k]
    assert float(share_inside(plane, answer.directions).min()) > 1 - 1e-9


def test_a_ring():
    module, radius = ring_attractor(64)
    states = ring_states(64, radius, torch.linspace(0, 2 * math.pi, 20, dtype=torch.float64))
    fp = dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), states)
    assert bool(fp.converged.all())
    assert fp.null_dims.tolist() == [1] * 20


def test_planted_points():
    module, planted = planted_network(40, 4)
    fp = dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), planted).unique()
    assert float((fp.states[:, None] - planted).norm(dim=-1).amin(0).max()) < 1e-9


def test_a_limit_cycle_has_no_fixed_point_but_the_origin():
    recurrence, answer = limit_cycle(6, period=12)
    phases = torch.arange(12, dtype=torch.float64) * answer.angle
    states = answer.states(phases)
    zero = torch.zeros(12, 6, dtype=torch.float64)
    torch.testing.assert_close(recurrence.step(states, zero), states.roll(-1, 0))
    torch.testing.assert_close(
        recurrence.rollout(states, zero[:, None].expand(12, 12, 6))[:, -1], states
    )
    fp = dynprobe.find_fixed_points(recurrence, states + 0.1 * drawn(12, 6))
    unique = fp.unique()
    assert len(unique) == 1
    assert float(unique.states.norm()) < 1e-9
    lin = dynprobe.linearize(recurrence, unique)
    values = lin.eigenvalues[0]
    assert values[:2].abs().tolist() == pytest.approx([answer.growth] * 2)
    assert values[:2].angle().abs().tolist() == pytest.approx([answer.angle] * 2)
    assert values[2:].real.tolist() == pytest.approx([answer.decay] * 4)
    # along the radius a deviation shrinks by the stated factor
    outside = (1 + 1e-6) * states[:1]
    grown = recurrence.step(outside, zero[:1]).norm() - answer.radius
    assert float(grown) == pytest.approx(1e-6 * answer.radial, rel=1e-4)


def test_a_limit_cycle_is_seen_as_a_plane():
    recurrence, answer = limit_cycle(6, period=12)
    start = answer.states(drawn(10)) + 0.3 * drawn(10, 6, seed=2)
    states = recurrence.rollout(start, torch.zeros(10, 60, 6, dtype=torch.float64))[:, 20:]
    report = dynprobe.analyze(dynprobe.Recording.from_arrays(states), "manifold_dimension")
    found = report["manifold_dimension"].visited
    assert found.participation_ratio == pytest.approx(2, abs=0.01)
    assert float(share_inside(orthonormal(found.components[:2]), answer.plane).min()) > 1 - 1e-6


def test_a_gated_linear_recurrence_by_closed_form_and_by_search():
    system = gated_linear(6, 3)
    x = drawn(3)
    answer = system.affine(x[None])
    searched = dynprobe.as_recurrence(system.step, state_dim=6, input_dim=3)
    with torch.no_grad():
        for recurrence in (system, searched):
            fp = dynprobe.find_fixed_points(recurrence, drawn(5, 6, seed=1), x).unique()
            assert fp.status.tolist() == [Status.FIXED] * len(fp)
            torch.testing.assert_close(fp.states[:1], answer.fixed_point())
            values = dynprobe.linearize(recurrence, fp[:1]).eigenvalues
            torch.testing.assert_close(
                values.real.sort().values, answer.eigenvalues().sort().values
            )
    value = system.module["value"].weight.detach()
    torch.testing.assert_close(answer.fixed_point(), (value @ x)[None])
