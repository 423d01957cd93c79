"""TwoNN and GRIDE: the laws they fit, and the curve over scales."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import circle, cube, noisy, sphere
from scipy.optimize import minimize_scalar
from scipy.special import betaln

from dynprobe.dimension import GRIDE, NeighborGraph, TwoNN
from dynprobe.errors import DegenerateDataError, ParameterError, ShapeError


def planted(d, n=4000):
    """A graph whose ratios follow Pareto's law exactly."""
    graph = NeighborGraph.of(cube(n, 2), 2)
    rng = np.random.default_rng(0)
    graph.distances[:, 0] = 1
    graph.distances[:, 1] = graph.distances.new_tensor(rng.random(n) ** (-1 / d))
    return graph


@pytest.mark.parametrize("d", [0.5, 2, 9.3])
def test_planted_ratios_give_their_exponent(d):
    fitted = TwoNN().fit(planted(d))
    assert fitted.dimension_ == pytest.approx(d, rel=0.05)
    low, high = fitted.dimension_interval_
    assert low < d < high
    assert GRIDE(range_max=2).fit(planted(d)).dimension_ == pytest.approx(d, rel=0.05)


def test_the_fit_is_the_least_squares_line_of_the_paper():
    fitted = TwoNN(discard_fraction=0.25).fit(cube(200, 3))
    mu = fitted.ratios_[:150]
    y = -np.log(1 - np.arange(1, 151) / 200)
    slope = np.linalg.lstsq(np.log(mu)[:, None], y, rcond=None)[0][0]
    assert fitted.dimension_ == pytest.approx(slope, rel=1e-12)


def test_nothing_discarded_leaves_out_the_very_largest_alone():
    assert np.isfinite(TwoNN(discard_fraction=0).fit(cube(200, 3)).dimension_)


@pytest.mark.parametrize(
    ("x", "d"), [(cube(3000, 2), 2), (circle(1000), 1), (sphere(3000, 4, 50), 4)]
)
def test_known_dimensions(x, d):
    assert TwoNN().fit(x).dimension_ == pytest.approx(d, rel=0.07)
    assert GRIDE().fit(x).dimension_ == pytest.approx(d, rel=0.07)


def test_gride_maximises_the_likelihood_written_out():
    n = 3
    graph = NeighborGraph.of(sphere(500, 3, 8), 6)
    logs = np.log((graph.distances[:, 5] / graph.distances[:, 2]).numpy())

    def loss(d):  # N - 1 for N before ln d, as the reference has it
        rest = (n - 1) * np.log(np.expm1(d * logs)) - ((2 * n - 1) * d + 1) * logs - betaln(n, n)
        return -((len(logs) - 1) * np.log(d) + rest.sum())

    best = minimize_scalar(loss, bounds=(1, 10), method="bounded", options={"xatol": 1e-10})
    fitted = GRIDE(n, range_max=6).fit(graph)
    assert fitted.dimension_ == pytest.approx(best.x, rel=1e-6)
    step = 1e-3
    bend = (loss(best.x + step) - 2 * loss(best.x) + loss(best.x - step)) / step**2
    assert fitted.error_ == pytest.approx(bend**-0.5, rel=1e-2)


def test_the_curve_falls_from_the_noise_to_the_plane():
    fitted = GRIDE(range_max=512).fit(noisy(2000, 2, 20, 0.01))
    assert fitted.scales_.tolist() == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert fitted.dimension_scales_[0] > 8
    assert fitted.dimension_scales_[-1] == pytest.approx(2, abs=0.3)
    assert (np.diff(fitted.radius_scales_) > 0).all()
    assert fitted.dimension_scales_[0] == fitted.dimension_


def test_a_grid_and_bad_settings_are_named():
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), -1).reshape(-1, 2)
    for estimator in (TwoNN(), GRIDE(range_max=2)):
        with pytest.raises(DegenerateDataError, match="as on a grid"):
            estimator.fit(grid)
    with pytest.raises(ShapeError, match="n_samples=3"):
        TwoNN(0.9).fit(cube(3, 2))
    with pytest.raises(ParameterError, match="discard_fraction is 1"):
        TwoNN(1).fit(grid)
    with pytest.raises(ParameterError, match="range_max is 4; give at least 2 n1 = 6"):
        GRIDE(3, range_max=4).fit(grid)
