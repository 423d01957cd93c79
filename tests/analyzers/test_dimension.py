"""The dimension of states and of points at rest, by scale, with intervals and nulls."""

from __future__ import annotations

import json
import math

import pytest
import torch

import dynprobe
from dynprobe import Recording
from dynprobe.analyzers.fixed_points import FixedPointSearch
from dynprobe.analyzers.state_sample import StateSample
from dynprobe.report.figures import FIGURES
from dynprobe.report.summary import summary
from dynprobe.testing import linear_system, ring_attractor, ring_states

DIMENSIONS = ["manifold_dimension", "fixed_point_dimension", "dimension_scale"]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def plane(sequences=60, time=20, width=12, noise=0.0, seed=0):
    """States spread evenly over a square in R^width, with isotropic noise."""
    basis, _ = torch.linalg.qr(torch.randn(width, 2, generator=generator(seed)).double())
    at = torch.rand(sequences, time, 2, generator=generator(seed + 1), dtype=torch.float64)
    added = torch.randn(sequences, time, width, generator=generator(seed + 2)).double()
    return at @ basis.T + noise * added


def analysed(states, *names):
    report = dynprobe.analyze(Recording.from_arrays(states, layer="layer"), list(names))
    assert not report.failures
    return report


@pytest.fixture(scope="module")
def ring():
    module, radius = ring_attractor(64)
    phases = 2 * math.pi * torch.rand(40, generator=generator(0), dtype=torch.float64)
    with dynprobe.attach(module) as probe:
        module(torch.zeros(40, 10, 1).double(), ring_states(64, radius, phases)[None])
    report = probe.analyze([FixedPointSearch(n_seeds=48), *DIMENSIONS])
    assert not report.failures
    return report


class TestManifoldDimension:
    def test_the_interval_holds_the_number_and_that_of_other_sequences(self):
        ratios = [
            analysed(plane(30, 10, seed=s), "manifold_dimension")["manifold_dimension"].visited
            for s in range(0, 36, 3)
        ]
        inside = 0
        for found in ratios:
            low, high = found.participation_ratio_interval
            assert 1 <= low <= found.participation_ratio <= high
            assert found.sampled == found.count == 300
            inside += low <= 2 <= high
        assert inside >= 9  # of 12; PR of the square is 2, of a sample a little less

    def test_only_what_units_share_is_above_the_null(self):
        found = analysed(plane(noise=0.05), "manifold_dimension")["manifold_dimension"]
        assert found.visited.components_above_null == found.final.components_above_null == 2
        noise = torch.randn(60, 20, 12, generator=generator(0)).double()
        found = analysed(noise, "manifold_dimension")["manifold_dimension"]
        assert found.visited.components_above_null <= 1
        assert found.visited.participation_ratio > 10

    def test_few_sequences_have_no_interval(self):
        found = analysed(plane(sequences=5, time=200), "manifold_dimension")["manifold_dimension"]
        assert found.visited.participation_ratio_interval is None
        assert found.visited.components_above_null == 2

    def test_alone_it_starts_no_search(self, monkeypatch):
        def searched(*_):
            raise AssertionError("a search was started")

        monkeypatch.setattr(FixedPointSearch, "analyze", searched)
        system, _, _ = linear_system([1.0, 0.5])
        states = plane(width=2)
        report = dynprobe.analyze(
            Recording.from_arrays(states), ["manifold_dimension"], recurrence=system
        )
        assert not report.failures
        assert list(report.results) == [("manifold_dimension", report.layers[0])]


def test_a_sample_tells_equal_states_apart():
    states = torch.zeros(300, 4, 2).double()
    states[:, 1:] = torch.randn(300, 3, 2, generator=generator(0)).double()
    rec = Recording.from_arrays(states)
    sample = StateSample.empty(240, 2).add_visited(rec)
    first = int((sample.states == 0).all(1).sum())
    assert 35 < first < 85  # of 240, a quarter: 60, standard deviation 6
    assert len(sample.sequences.unique()) > 120
    assert len(StateSample.empty(500, 2).add_final(rec).sequences.unique()) == 300


class TestFixedPointDimension:
    def test_a_ring_of_fixed_points_has_the_dimension_of_a_circle(self, ring):
        found = ring["fixed_point_dimension"]
        assert found.fixed.participation_ratio == pytest.approx(2, abs=0.2)
        assert found.fixed.count == len(ring["fixed_points"].unique)
        assert found.fixed.participation_ratio_interval is None
        assert found.fixed.components_95 == found.slow.components_95 == 2
        low, high = found.slow.participation_ratio_interval
        assert low <= found.slow.participation_ratio <= high
        assert found.no_fixed == found.no_slow == ""
        searched = ring["fixed_points"].slow_participation_ratio
        assert found.slow.participation_ratio == pytest.approx(searched)

    def test_one_fixed_point_has_none_and_says_why(self):
        system, _, _ = linear_system([0.5, 0.2])
        rec = Recording.from_arrays(plane(width=2))
        report = dynprobe.analyze(rec, DIMENSIONS, recurrence=system)
        assert not report.failures
        found = report["fixed_point_dimension"]
        assert (found.fixed, found.slow) == (None, None)
        assert found.no_fixed == "1 of at least 3 points"
        assert found.no_slow == "all 256 points lie at one place"
        json.dumps(report.to_dict())

    def test_without_spread_the_figure_of_the_cut_says_so(self):
        system, _, _ = linear_system([0.5, 0.2])
        rec = Recording.from_arrays(plane(width=2))
        report = dynprobe.analyze(rec, ["fixed_points"], recurrence=system)
        figure = FIGURES["slow_cut"].draw(report, report.layers[0])
        said = [text.get_text() for text in figure.axes[0].texts]
        assert said == ["too few points at rest, or all at one place"]

    def test_states_and_points_at_rest_stand_in_one_table(self, ring):
        (layer,) = ring.layers
        tables = summary(ring, layer)
        assert "fixed_point_dimension" not in tables
        measures = [row.measure for row in tables["manifold_dimension"]]
        clouds = ["visited states", "final states", "fixed points", "fixed and slow points"]
        assert [m for m in measures if m in clouds] == clouds


class TestDimensionScale:
    def test_a_noisy_plane_has_two_dimensions_once_noise_is_passed(self):
        report = analysed(plane(noise=0.01), "dimension_scale", "manifold_dimension")
        found = report["dimension_scale"]
        gride = found.scales.curves["GRIDE"].dimension
        assert gride[0] > 4
        assert gride[-1] == pytest.approx(2, abs=0.4)
        linear = report["manifold_dimension"].participation_ratio
        assert found.linear.participation_ratio == linear
        assert found.scales.n_points == 60 * 20
        assert "2, 8, 32, 128" in str(report)

    @pytest.mark.parametrize(
        "states",
        [
            torch.ones(20, 8, 3),
            torch.arange(2.0)[:, None, None].expand(2, 6, 3),
            torch.zeros(1, 1, 3),
            torch.arange(5.0)[:, None, None].expand(5, 1, 1),
        ],
        ids=["one state", "two states", "a single state", "a line of five"],
    )
    def test_degenerate_states_give_a_reason_and_no_exception(self, states, tmp_path):
        report = analysed(states.double(), "dimension_scale", "manifold_dimension")
        found = report["dimension_scale"].scales
        assert found.curves == {}
        assert "distinct state" in found.notes[0]
        assert found.notes[0] in " ".join(str(report).split())
        report.save(tmp_path / "report.html")

    def test_one_unit_has_one_dimension(self):
        found = analysed(plane(width=2)[..., :1], "dimension_scale")["dimension_scale"]
        for curve in found.scales.curves.values():
            assert float(curve.dimension[-1]) == pytest.approx(1, abs=0.15)


@pytest.mark.requires("cuda")
def test_states_on_an_accelerator_give_the_same_numbers():
    states = plane(noise=0.01)
    here, there = (analysed(x, "dimension_scale") for x in (states, states.cuda()))
    found, expected = there["dimension_scale"], here["dimension_scale"]
    assert found.linear.participation_ratio == pytest.approx(expected.linear.participation_ratio)
    for name, curve in expected.scales.curves.items():
        torch.testing.assert_close(found.scales.curves[name].dimension, curve.dimension)
