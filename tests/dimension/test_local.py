"""Estimators of a dimension around each point: equations written out, known dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clouds import ball, circle, cube, noisy, sphere

from dynprobe.dimension import MADA, MLE, MOM, TLE, LocalPCA, NeighborGraph
from dynprobe.errors import DegenerateDataError, ParameterError

LOCAL = {"MLE": MLE, "MOM": MOM, "MADA": MADA, "TLE": TLE, "LocalPCA": LocalPCA}


def distances(x):
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return np.sort(d, axis=1)[:, 1:]


def test_mle_is_its_equation():
    x = ball(60, 3)
    local = [1 / np.mean([np.log(row[5] / row[j]) for j in range(5)]) for row in distances(x)]
    fitted = MLE(n_neighbors=6).fit(x)
    np.testing.assert_allclose(fitted.dimension_pw_, local, rtol=1e-12)
    assert fitted.dimension_ == pytest.approx(1 / np.mean(1 / np.array(local)), rel=1e-12)
    arithmetic = MLE(n_neighbors=6, average="arithmetic").fit(x)
    assert arithmetic.dimension_ == pytest.approx(np.mean(local), rel=1e-12)
    assert arithmetic.dimension_ > fitted.dimension_


def test_moments_and_halved_neighbourhoods_are_their_equations():
    x = ball(60, 3)
    mom = [row[:8].mean() / (row[7] - row[:8].mean()) for row in distances(x)]
    np.testing.assert_allclose(MOM(n_neighbors=8).fit(x).dimension_pw_, mom, rtol=1e-12)
    mada = [np.log(2) / np.log(row[8] / row[3]) for row in distances(x)]
    np.testing.assert_allclose(MADA(n_neighbors=9).fit(x).dimension_pw_, mada, rtol=1e-12)


def seen(i, j, around, r):
    """Distance of j from i as the ball of radius r measures it, as Amsaleg et al. print it."""
    q, v = around[i], around[j]
    u2, w2, v2 = q @ q, v @ v, (v - q) @ (v - q)
    if np.isclose(u2, r * r, rtol=1e-14):
        return r * v2 / (r * r + v2 - w2)
    b = u2 + v2 - w2
    return r * (np.sqrt(b * b + 4 * v2 * (r * r - u2)) - b) / (2 * (r * r - u2))


def test_tight_locality_is_its_equation():
    x = ball(40, 3)
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    expected = []
    for i in range(len(x)):
        order = np.argsort(d[i])[1:8]
        around, near = x[order] - x[i], d[i][order]
        r, total = near[-1], 2 * np.log(near / near[-1]).sum()
        for a in range(7):
            for b in range(7):
                if a != b:
                    mirrored = around.copy()
                    mirrored[b] *= -1
                    total += np.log(seen(a, b, around, r) / r) + np.log(seen(a, b, mirrored, r) / r)
        expected.append(-2 * 49 / total)
    np.testing.assert_allclose(TLE(n_neighbors=7).fit(x).dimension_pw_, expected, rtol=1e-9)


def test_local_components_of_a_curved_surface_are_those_of_its_tangent():
    x = sphere(1500, 2, 10)
    fitted = LocalPCA(n_neighbors=30).fit(x)
    assert fitted.dimension_ == pytest.approx(2, abs=0.01)
    assert LocalPCA(n_neighbors=1000).fit(x).dimension_ == 3  # no longer local
    ratio = LocalPCA(n_neighbors=30, criterion="participation_ratio").fit(x)
    spectra = np.stack([np.linalg.svd(p - p.mean(0))[1] ** 2 for p in neighbourhoods(x, 30)])
    expected = spectra.sum(1) ** 2 / (spectra**2).sum(1)
    np.testing.assert_allclose(ratio.dimension_pw_, expected, rtol=1e-9)
    narrow = LocalPCA(n_neighbors=5, criterion="participation_ratio").fit(x)  # k < features
    spectra = np.stack([np.linalg.svd(p - p.mean(0))[1] ** 2 for p in neighbourhoods(x, 5)])
    expected = spectra.sum(1) ** 2 / (spectra**2).sum(1)
    np.testing.assert_allclose(narrow.dimension_pw_, expected, rtol=1e-9)


def neighbourhoods(x, k):
    return [x[rows] for rows in NeighborGraph.of(x, k).indices.numpy()]


@pytest.mark.parametrize("name", ["MLE", "MOM", "MADA", "TLE"])
@pytest.mark.parametrize(
    ("x", "d", "band"),
    [
        (cube(2000, 2), 2, 0.15),
        (ball(2000, 5), 5, 0.1),
        (circle(1000), 1, 0.15),
        (sphere(2000, 3, 40), 3, 0.12),
    ],
    ids=["square", "ball", "circle", "sphere"],
)
def test_known_dimensions(name, x, d, band):
    fitted = LOCAL[name](n_neighbors=20).fit(x)
    assert fitted.dimension_ == pytest.approx(d, rel=band)
    low, high = fitted.dimension_interval_
    assert low < fitted.dimension_ < high < 1.1 * low


def test_an_edge_lowers_and_its_absence_does_not():
    assert MLE().fit(cube(2000, 6)).dimension_ < 5.6
    assert MLE().fit(sphere(2000, 5, 6)).dimension_ == pytest.approx(5, rel=0.03)


def test_noise_fills_the_ambient_space_at_small_scales_alone():
    x = noisy(2000, 2, 20, 0.01)
    assert MLE(n_neighbors=5).fit(x).dimension_ > 6
    assert MLE(n_neighbors=500).fit(x).dimension_ < 3


def test_two_clusters_of_different_dimension_are_seen_point_by_point():
    x = np.concatenate([np.pad(cube(600, 1), ((0, 0), (0, 5))), 50 + cube(600, 6)])
    fitted = MLE().fit(x)
    assert np.median(fitted.dimension_pw_[:600]) == pytest.approx(1, abs=0.15)
    assert np.median(fitted.dimension_pw_[600:]) == pytest.approx(5.4, abs=0.7)


@pytest.mark.parametrize("name", LOCAL)
def test_one_outlier_moves_nothing(name):
    x = cube(800, 3)
    clean = LOCAL[name](n_neighbors=20).fit(x).dimension_
    fitted = LOCAL[name](n_neighbors=20).fit(np.concatenate([x, np.full((1, 3), 1e5)]))
    others = fitted.dimension_pw_[:-1]
    mean = 1 / np.mean(1 / others) if fitted.average == "harmonic" else others.mean()
    assert mean == pytest.approx(clean, rel=1e-9)


@pytest.mark.parametrize("name", LOCAL)
def test_duplicates_are_merged_and_share_their_value(name):
    x = cube(300, 3)
    twice = np.concatenate([x, x[:80]])
    mine, theirs = (LOCAL[name](n_neighbors=10).fit(p) for p in (twice, x))
    assert mine.n_duplicates_ == 80
    assert mine.dimension_ == pytest.approx(theirs.dimension_, rel=1e-9)
    np.testing.assert_array_equal(mine.dimension_pw_[:80], mine.dimension_pw_[300:])
    np.testing.assert_allclose(mine.dimension_pw_[:300], theirs.dimension_pw_, rtol=1e-9)


@pytest.mark.parametrize("name", LOCAL)
def test_scale_shift_and_rotation_are_not_seen(name):
    x = cube(300, 3)
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))
    mine, theirs = (LOCAL[name](n_neighbors=12).fit(p) for p in (1e-5 * x @ turn + 3, x))
    assert mine.dimension_ == pytest.approx(theirs.dimension_, rel=1e-6)


def test_what_is_undefined_is_left_out_and_counted():
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), -1).reshape(-1, 2)
    x = np.concatenate([grid, 100 + cube(200, 2)])
    fitted = MLE(n_neighbors=4, average="arithmetic").fit(x)
    inner = np.isinf(fitted.dimension_pw_)
    assert inner.sum() == 100 == fitted.n_undefined_  # four neighbours at one distance
    assert fitted.dimension_ == pytest.approx(fitted.dimension_pw_[~inner].mean())
    harmonic = MLE(n_neighbors=4).fit(x)
    assert harmonic.dimension_ == pytest.approx(1 / np.mean(1 / harmonic.dimension_pw_))
    for estimator in (MLE(10), MOM(10), MADA(10), TLE(10)):
        with pytest.raises(DegenerateDataError, match="equally far"):
            estimator.fit(np.eye(30))


def test_the_interval_covers_the_spread_over_clouds():
    """Of clouds drawn anew, the interval of one: neither far too narrow nor too wide."""
    found = [MLE().fit(sphere(400, 2, 5, seed=s)) for s in range(40)]
    spread = np.std([f.dimension_ for f in found])
    width = np.mean([np.diff(f.dimension_interval_)[0] for f in found]) / (2 * 1.96)
    assert 0.5 < width / spread < 1.5


def test_resampling_is_reproducible_and_leaves_global_state_alone():
    x = torch.tensor(cube(200, 2))
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, second = (MLE(random_state=3).fit(x).dimension_interval_ for _ in range(2))
    assert first == second != MLE(random_state=4).fit(x).dimension_interval_
    MLE(random_state=None).fit(x)
    assert np.isnan(MLE(n_resamples=0).fit(x).dimension_interval_).all()
    assert (np.random.get_state()[1] == before[0]).all()
    assert torch.equal(torch.get_rng_state(), before[1])


def test_bad_settings_are_named():
    x = cube(50, 2)
    for estimator, said in [
        (MLE(average="median"), "average is 'median'; give 'harmonic' or 'arithmetic'"),
        (MLE(n_neighbors=1), "n_neighbors is 1"),
        (MLE(n_neighbors=2.5), "n_neighbors is 2.5"),
        (MLE(n_resamples=-1), "n_resamples is -1"),
        (TLE(epsilon=1), "epsilon is 1"),
        (LocalPCA(criterion="gap"), "criterion is 'gap'"),
        (LocalPCA(alpha=-0.1), "alpha is -0.1"),
    ]:
        with pytest.raises(ParameterError, match=said):
            estimator.fit(x)
