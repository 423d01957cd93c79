"""The built-in analyzers on systems with known answers."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe import Recording
from dynprobe.analyzers.fixed_points import FixedPointSearch
from dynprobe.analyzers.manifold_dimension import ManifoldDimension
from dynprobe.dimension import components_for, participation_ratio
from dynprobe.geometry.moments import Moments
from dynprobe.geometry.simplex import readout_geometry
from dynprobe.geometry.subspaces import orthonormal, random_share, share_inside
from dynprobe.testing import linear_system, ring_attractor, ring_states


def planar(sequences=40, time=30, width=20, seed=0):
    """States on a plane in R^width, with variances 4 : 1."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(width, 2, generator=generator, dtype=torch.float64))
    at = torch.randn(sequences, time, 2, generator=generator, dtype=torch.float64)
    return (at * torch.tensor([2.0, 1.0])) @ basis.T, basis


class TestManifoldDimension:
    def test_known_spectrum(self):
        states, basis = planar()
        report = dynprobe.analyze(Recording.from_arrays(states), "manifold_dimension")
        result = report["manifold_dimension"]
        flat = states.reshape(-1, 20)
        variances = torch.linalg.svdvals(flat - flat.mean(0)).square()
        assert result.participation_ratio == pytest.approx(
            float(variances.sum() ** 2 / variances.square().sum()), rel=1e-12
        )
        assert result.visited.components_90 == result.components_95 == 2
        inside = share_inside(result.visited.components[:2], orthonormal(basis.T))
        assert inside.min() > 1 - 1e-12
        assert result.final.count == 40
        assert result.n_classes is None

    def test_ring_states_have_dimension_two(self):
        _, radius = ring_attractor(64)
        phases = torch.arange(360, dtype=torch.float64) * math.pi / 180
        rec = Recording.from_arrays(ring_states(64, radius, phases)[None])
        result = dynprobe.analyze(rec, "manifold_dimension")["manifold_dimension"]
        assert result.participation_ratio == pytest.approx(2, abs=0.1)
        assert result.components_95 == 2

    def test_padding_is_left_out(self):
        states, _ = planar()
        padded = torch.cat([states, 100 * torch.ones(40, 5, 20, dtype=states.dtype)], 1)
        a = dynprobe.analyze(Recording.from_arrays(states), "manifold_dimension")
        b = dynprobe.analyze(Recording.from_arrays(padded, lengths=[30] * 40), "manifold_dimension")
        x, y = (r["manifold_dimension"].participation_ratio for r in (a, b))
        assert x == pytest.approx(y, rel=1e-12)

    def test_streaming_equals_one_shot_in_any_split(self):
        states, _ = planar(sequences=37)
        rec = Recording.from_arrays(states, labels=torch.arange(37) % 3)
        whole = dynprobe.analyze(rec, "manifold_dimension")["manifold_dimension"]
        analyzer = ManifoldDimension()
        parts = []
        for start, stop in ((0, 1), (1, 20), (20, 20), (20, 37)):
            parts.append(analyzer.update(analyzer.init(rec.meta), rec[start:stop]))
        merged = analyzer.init(rec.meta)
        for part in reversed(parts):
            merged = analyzer.merge(part, merged)
        split_visited, split_final = merged.visited.moments, merged.final.moments
        assert split_visited.count == whole.visited.count == 37 * 30
        variances, _ = split_visited.principal_components()
        torch.testing.assert_close(
            variances / variances.sum(), whole.visited.variance_ratio, rtol=1e-9, atol=1e-12
        )
        assert split_final.count == whole.final.count
        assert whole.n_classes == 3
        assert whole.visited.components_simplex == 1

    def test_update_is_pure(self):
        states, _ = planar()
        rec = Recording.from_arrays(states)
        analyzer = ManifoldDimension()
        acc = analyzer.init(rec.meta)
        analyzer.update(acc, rec)
        assert acc.visited.moments.count == 0
        assert acc.visited.moments.scatter.abs().sum() == 0
        assert acc.visited.sample.rows.seen == 0


def test_moments_far_from_the_origin():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 3, generator=generator, dtype=torch.float64) + 1e6
    merged = Moments.empty(3)
    for chunk in x.split(7):
        merged = merged.merge(Moments.of(chunk))
    torch.testing.assert_close(merged.covariance, torch.cov(x.T), rtol=1e-8, atol=1e-8)


def test_participation_ratio_and_components():
    assert participation_ratio(torch.ones(7)) == pytest.approx(7)
    assert participation_ratio(torch.tensor([1.0, 0, 0])) == pytest.approx(1)
    v = torch.tensor([0.6, 0.35, 0.05])
    assert [components_for(v, s) for s in (0.5, 0.6, 0.61, 0.95, 0.951, 1.0)] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_simplex_geometry(n):
    corners = torch.eye(n, dtype=torch.float64) - 1 / n
    found = readout_geometry(2 * corners)
    angle = math.degrees(math.acos(-1 / (n - 1)))
    assert found.simplex_angle == pytest.approx(angle)
    assert found.pair_angles.tolist() == pytest.approx([angle] * (n * (n - 1) // 2))
    assert found.norm_in_span.tolist() == pytest.approx([1.0] * n)
    square = readout_geometry(torch.eye(n, dtype=torch.float64))
    assert square.pair_angles.tolist() == pytest.approx([90.0] * (n * (n - 1) // 2))
    assert square.norm_in_span.abs().max() < 1e-9


def test_random_share_null():
    assert random_share(100, 2, 0.5, seed=0) == pytest.approx(0.0139, abs=2e-3)  # beta(1, 49)
    assert random_share(100, 2, 0.5, seed=0) == random_share(100, 2, 0.5, seed=0)
    assert random_share(3, 3, 0.95, seed=0) == pytest.approx(1)


def recording_of(recurrence, inputs, initial, **kwargs):
    states = recurrence.rollout(initial, inputs)
    return Recording.from_arrays(states, inputs=inputs, **kwargs)


class TestDynamics:
    def line(self):
        """A line attractor along e, and two words that push along it; a third does nothing."""
        system, matrix, _ = linear_system(
            [1.0, 0.4, 0.2, -0.3], offset=torch.zeros(4, dtype=torch.float64)
        )
        values, vectors = torch.linalg.eig(matrix)
        e = vectors[:, values.real.argmax()].real
        words = torch.stack([0.1 * e, -0.1 * e, torch.zeros(4, dtype=torch.float64)])
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randint(0, 3, (50, 40), generator=generator)
        initial = torch.zeros(50, 4, dtype=torch.float64)
        rec = recording_of(
            system, words[tokens], initial, tokens=tokens, vocabulary=["good", "bad", "neutral"]
        )
        return system, e / e.norm(), rec

    def test_line_attractor(self):
        system, _, rec = self.line()
        # by default the mean word is held, which drifts: more good words than bad ones were drawn
        drifting = dynprobe.analyze(rec, "fixed_points", recurrence=system)["fixed_points"]
        assert drifting.held == "mean input"
        assert drifting.n_slow == len(drifting.points)
        chosen = [FixedPointSearch(held="zero"), "integration_direction"]
        report = dynprobe.analyze(rec, chosen, recurrence=system)
        assert not report.failures
        found = report["fixed_points"]
        assert found.n_fixed == len(found.points)
        assert not found.points.isolated.any()
        direction = report["integration_direction"]
        assert direction.n_integrating == 1
        assert direction.sequence_length == 40
        assert direction.plane_dim == 1
        assert direction.slow_in_plane > 0.95
        assert direction.readout is None
        assert direction.readout_in_slow is None
        d = direction.deflections
        at = {w: i for i, w in enumerate(d.tokens)}
        assert d.exact[at["good"]].norm() == pytest.approx(0.1, rel=1e-2)
        torch.testing.assert_close(d.exact[at["good"]], -d.exact[at["bad"]], atol=1e-9, rtol=0)
        torch.testing.assert_close(d.exact, d.linear, atol=1e-9, rtol=0)  # it is linear
        assert d.exact[at["neutral"]].norm() < 1e-9
        assert d.counts.sum() == 1950  # the first steps start from a state nobody recorded

    def test_ring_attractor(self):
        module, radius = ring_attractor(64)
        phases = 2 * math.pi * torch.rand(40, dtype=torch.float64)
        with dynprobe.attach(module) as probe:
            module(
                torch.zeros(40, 10, 1, dtype=torch.float64), ring_states(64, radius, phases)[None]
            )
        report = probe.analyze()
        assert not report.failures
        assert report["manifold_dimension"].components_95 == 2
        assert report["fixed_points"].n_fixed == 256
        assert report["fixed_points"].slow_participation_ratio == pytest.approx(2, abs=0.1)
        direction = report["integration_direction"]
        assert direction.n_integrating == 1
        assert (direction.eigenvalues[:, 0] - 1).abs().max() < 1e-9

    def test_time_constants_in_the_users_unit(self):
        module = nn.RNN(1, 4, batch_first=True, dtype=torch.float64)
        with torch.no_grad():
            for p in module.parameters():
                p.zero_()
            module.weight_hh_l0.copy_(torch.eye(4) * math.exp(-1 / 20))
        with dynprobe.attach(module, dt=5.0, unit="ms") as probe:
            module(
                torch.randn(30, 10, 1, dtype=torch.float64), 0.1 * torch.randn(1, 30, 4).double()
            )
        direction = probe.analyze()["integration_direction"]
        assert direction.unit == "ms"
        assert direction.time_constants[0, 1] == pytest.approx(100, rel=1e-6)
        assert direction.sequence_length == 50

    def test_results_are_frozen_and_plain(self):
        system, _, rec = self.line()
        report = dynprobe.analyze(rec, recurrence=system)
        for result in report.results.values():
            assert dataclasses.is_dataclass(result)
            with pytest.raises(dataclasses.FrozenInstanceError):
                result.unit = 1
            json.dumps(result.to_dict())
        json.dumps(report.to_dict())

    def test_same_seed_same_numbers(self):
        system, _, rec = self.line()
        a, b = (dynprobe.analyze(rec, recurrence=system, seed=3).to_dict() for _ in range(2))
        assert a == b


def test_without_a_recurrence_what_needs_it_is_skipped_with_the_reason():
    states, _ = planar()
    report = dynprobe.analyze(Recording.from_arrays(states))
    of_states = {"manifold_dimension", "dimension_scale"}
    assert set(report.results) == {(name, "states") for name in of_states}
    assert report.skipped["fixed_points", "states"] == "needs the recurrence"
    with pytest.raises(dynprobe.DynprobeError, match="skipped on 'states': needs the recurrence"):
        report["fixed_points"]
    assert "needs the recurrence" in str(report)


def test_nothing_to_linearise_at_is_said_so():
    system = dynprobe.as_recurrence(lambda s, x: s + 1, state_dim=2, input_dim=1)
    rec = recording_of(system, torch.zeros(3, 9, 1).double(), torch.zeros(3, 2).double())
    report = dynprobe.analyze(rec, recurrence=system)
    assert report["fixed_points"].n_unconverged == 27
    assert "No fixed or slow point" in str(report.failures["integration_direction", "states"])
