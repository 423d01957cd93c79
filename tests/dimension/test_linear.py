"""Linear dimensions of a cloud, and Fisher separability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clouds import ball, cube, embedded, sphere

from dynprobe.dimension import (
    FisherS,
    ParallelAnalysis,
    ParticipationRatio,
    VarianceThreshold,
    participation_ratio,
)
from dynprobe.errors import DegenerateDataError, ParameterError


def gaussian(n, scales, width=None, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, len(scales))) * np.sqrt(scales)
    return x if width is None else embedded(x, width, seed)


def test_participation_ratio_is_that_of_the_covariance():
    x = gaussian(300, [4, 2, 1], 7)
    expected = participation_ratio(torch.tensor(np.linalg.eigvalsh(np.cov(x.T))))
    assert ParticipationRatio().fit(x).dimension_ == pytest.approx(expected, rel=1e-10)
    wide = x[:5]  # fewer points than features
    expected = participation_ratio(torch.tensor(np.linalg.eigvalsh(np.cov(wide.T))))
    assert ParticipationRatio().fit(wide).dimension_ == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("width", [None, 120])  # 120: more features than points
def test_its_interval_covers_the_spread_over_clouds(width):
    found = [ParticipationRatio().fit(gaussian(100, [4, 2, 1], width, s)) for s in range(100)]
    spread = np.std([f.dimension_ for f in found])
    half = np.mean([f.dimension_interval_[1] - f.dimension_ for f in found])
    assert half / 1.96 == pytest.approx(spread, rel=0.3)


def test_variance_threshold_counts_components():
    x = gaussian(4000, [6, 3, 1], 5)
    counts = [VarianceThreshold(share).fit(x).dimension_ for share in (0.5, 0.8, 0.95, 1)]
    assert counts[:3] == [1, 2, 3]
    assert counts[3] >= 3
    for share in (0, 1.1, -1, "half"):
        with pytest.raises(ParameterError, match="share is"):
            VarianceThreshold(share).fit(x)


def test_parallel_analysis_finds_what_is_correlated():
    rng = np.random.default_rng(0)
    x = gaussian(500, [9, 9, 9], 40) + 0.5 * rng.standard_normal((500, 40))
    fitted = ParallelAnalysis(20).fit(x)
    assert fitted.dimension_ == 3
    assert fitted.null_ratio_.shape == fitted.variance_ratio_.shape == (40,)
    assert ParallelAnalysis(20).fit(x[:30]).dimension_ == 3  # fewer points than features
    assert ParallelAnalysis(20, random_state=1).fit(rng.standard_normal((500, 40))).dimension_ <= 1


def test_parallel_analysis_is_reproducible_and_leaves_global_state_alone():
    x = cube(60, 3, 8)
    before = np.random.get_state()[1].copy()
    first, second = (ParallelAnalysis(5).fit(x).null_ratio_ for _ in range(2))
    np.testing.assert_array_equal(first, second)
    ParallelAnalysis(5, random_state=None).fit(x)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("d", [2, 3, 5])
def test_fisher_separability_of_balls_and_spheres(d):
    assert FisherS().fit(ball(2000, d)).dimension_ == pytest.approx(d, rel=0.1)
    assert FisherS().fit(sphere(2000, d, 30)).dimension_ == pytest.approx(d + 1, rel=0.1)


def test_fisher_counts_pairs_of_unit_vectors():
    x = ball(60, 3)
    fitted = FisherS().fit(x)
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    u = u[:, s**2 > s[0] ** 2 / 10]
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    products = u @ u.T
    np.fill_diagonal(products, -1)
    expected = [(products >= a).sum() / (60 * 59) for a in fitted.alphas_]
    np.testing.assert_allclose(fitted.inseparable_, expected)
    assert fitted.n_components_ == 3


def test_fisher_refuses_what_it_can_separate_entirely():
    with pytest.raises(DegenerateDataError, match="separate every pair"):
        FisherS().fit(np.eye(12))
    with pytest.raises(ParameterError, match="conditional_number is 1"):
        FisherS(1).fit(cube(30, 2))
