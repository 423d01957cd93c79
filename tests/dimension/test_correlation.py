"""Correlation dimension: pairs counted one by one, known dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clouds import ball, circle, cube

from dynprobe.dimension import CorrelationDimension, NeighborGraph, correlation_slope
from dynprobe.dimension.pair_counts import counts_within
from dynprobe.errors import DegenerateDataError, ParameterError


def pairwise(x):
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.fill_diagonal(d, np.inf)
    return d


def lumpy():
    """Dense and thin places, near duplicates, an outlier."""
    rng = np.random.default_rng(0)
    dense = 1e-3 * rng.standard_normal((100, 6))
    return np.concatenate(
        [dense, dense + 1e-9, rng.standard_normal((200, 6)), np.full((1, 6), 1e6)]
    )


@pytest.mark.parametrize("radii", [[1e-8, 1e-3], [2e-3, 0.5], [1.0, 3.0], [1e5, 1e7]])
def test_counts_are_those_of_all_pairs(radii):
    x = lumpy()
    counts = counts_within(NeighborGraph.of(x, 3), radii)
    assert counts.tolist() == [(pairwise(x) < r).sum(1).tolist() for r in radii]


def test_a_pair_at_the_radius_itself_is_not_nearer():
    graph = NeighborGraph.of(np.arange(30.0)[:, None], 1)
    at, above = counts_within(graph, [2.0, np.nextafter(2.0, 3)]).sum(1).tolist()
    assert (at, above) == (58, 58 + 56)


def test_it_is_its_equation():
    d = pairwise(lumpy())
    r1, r2 = (np.median(np.sort(d, axis=1)[:, k - 1]) for k in (5, 12))
    expected = np.log((d < r2).sum() / (d < r1).sum()) / np.log(r2 / r1)
    fitted = CorrelationDimension(5, 12).fit(lumpy())
    assert fitted.dimension_ == pytest.approx(expected, rel=1e-12)
    assert fitted.radii_ == pytest.approx((r1, r2), rel=1e-12)


@pytest.mark.parametrize(
    ("x", "d", "band"),
    [(cube(2000, 2), 2, 0.05), (ball(3000, 4), 4, 0.1), (circle(1000), 1, 0.05)],
    ids=["square", "ball", "circle"],
)
def test_known_dimensions(x, d, band):
    fitted = CorrelationDimension().fit(torch.tensor(x))
    assert fitted.dimension_ == pytest.approx(d, rel=band)
    low, high = fitted.dimension_interval_
    assert low < fitted.dimension_ < high


def test_bad_settings_and_data_are_named():
    x = cube(50, 2)
    with pytest.raises(ParameterError, match="k1 is 5 and k2 is 5"):
        CorrelationDimension(5, 5).fit(x)
    with pytest.raises(ParameterError, match="k1 is 0"):
        CorrelationDimension(0, 5).fit(x)
    corners = np.eye(40)  # a simplex: every pair equally far
    with pytest.raises(DegenerateDataError, match="at one distance"):
        CorrelationDimension(5, 10).fit(corners)


def test_the_slope_is_that_of_a_line_through_counted_pairs():
    x = np.random.default_rng(0).standard_normal((60, 3))
    d = np.sort(pairwise(x)[np.triu_indices(60, 1)])
    radii = np.geomspace(d[round(0.1 * (len(d) - 1))], d[round(0.8 * (len(d) - 1))], 30)
    shares = [np.mean(d < r) for r in radii]
    expected = np.polyfit(np.log(radii), np.log(shares), 1)[0]
    found = correlation_slope(x, percentiles=(10, 80), n_radii=30)
    # the first radius is a distance itself: which side it falls on is rounding
    assert found == pytest.approx(expected, rel=2e-3)
    assert correlation_slope(torch.tensor(1024 * x), percentiles=(10, 80), n_radii=30) == (
        pytest.approx(found)
    )


def test_the_slope_between_short_distances_is_the_dimension():
    x = cube(1500, 2, 5)
    assert correlation_slope(x, percentiles=(0.01, 2)) == pytest.approx(2, abs=0.15)
    # where all pairs are counted it falls behind
    assert correlation_slope(x) < 1.7


@pytest.mark.parametrize("percentiles", [(5, 5), (-1, 50), (50, 101), (90, 10), (5,), ("a", 3)])
def test_percentiles_out_of_range(percentiles):
    with pytest.raises(ParameterError, match="percentiles"):
        correlation_slope(cube(20, 2, 2), percentiles=percentiles)


def test_no_slope_of_points_that_coincide():
    with pytest.raises(DegenerateDataError, match="coincide"):
        correlation_slope(np.repeat([[0.0, 0.0], [1.0, 1.0]], 20, axis=0))
    with pytest.raises(ParameterError, match="n_radii"):
        correlation_slope(cube(20, 2, 2), n_radii=1)
