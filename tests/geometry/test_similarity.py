"""Similarity of representations against formulas written out, and what each must not see."""

from __future__ import annotations

import math

import pytest
import torch

from dynprobe.errors import DegenerateDataError, NonFiniteStatesError, ShapeError
from dynprobe.similarity import cka, cka_of_grams, coordinates, mean_cca, procrustes

MEASURES = {"cka": cka, "procrustes": procrustes, "mean_cca": mean_cca}


def cloud(points, width, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(points, width, generator=g, dtype=torch.float64)


def orthogonal(n, seed=1):
    return torch.linalg.qr(cloud(n, n, seed))[0]


def test_biased_cka_is_the_cosine_of_centred_gram_matrices():
    x, y = cloud(30, 4), cloud(30, 7, seed=1)
    h = torch.eye(30, dtype=torch.float64) - 1 / 30
    k, other = h @ x @ x.T @ h, h @ y @ y.T @ h
    expected = float((k * other).sum() / (k.norm() * other.norm()))
    assert cka(x, y, debiased=False) == pytest.approx(expected, rel=1e-12)
    assert cka_of_grams(x @ x.T, y @ y.T, debiased=False) == pytest.approx(expected, rel=1e-12)


def test_unbiased_hsic_is_the_mean_over_quadruples():
    """Against the definition as a U-statistic, every ordered quadruple of distinct points."""
    from itertools import permutations

    x, y = cloud(6, 2), cloud(6, 3, seed=1)

    def hsic(a, b):
        terms = [
            a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q]) for i, j, q, r in permutations(range(6), 4)
        ]
        return float(sum(terms) / len(terms))

    k, m = x @ x.T, y @ y.T
    expected = hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))
    assert cka(x, y) == pytest.approx(expected, rel=1e-10)
    assert cka_of_grams(k, m) == pytest.approx(expected, rel=1e-10)


def test_debiased_cka_of_unrelated_wide_representations_is_near_zero_and_biased_is_not():
    found = [(cka(a, b), cka(a, b, debiased=False)) for a, b in wide_pairs()]
    debiased, biased = torch.tensor(found).mean(0).tolist()
    assert abs(debiased) < 0.01
    assert biased > 0.7


def wide_pairs():
    return [(cloud(100, 300, seed=s), cloud(100, 300, seed=100 + s)) for s in range(10)]


@pytest.mark.parametrize("name", MEASURES)
def test_rotation_shift_and_scale_are_not_seen(name):
    x = cloud(60, 5) @ cloud(5, 5, seed=3)
    y = 3 * x @ orthogonal(5) + 7
    assert MEASURES[name](x, y) == pytest.approx(0.0 if name == "procrustes" else 1.0, abs=1e-12)


def test_only_cca_does_not_see_an_invertible_linear_map():
    x = cloud(60, 5)
    y = x @ torch.diag(torch.tensor([1, 1, 1, 1, 20.0], dtype=torch.float64))
    assert mean_cca(x, y, share=1.0) == pytest.approx(1, abs=1e-10)
    assert cka(x, y) < 0.7
    assert procrustes(x, y) > 0.5


@pytest.mark.parametrize("name", MEASURES)
def test_symmetric_and_widths_may_differ(name):
    x, y = cloud(60, 5), cloud(60, 3, seed=1)
    assert MEASURES[name](x, y) == pytest.approx(MEASURES[name](y, x), rel=1e-10)


def test_columns_of_zeros_change_nothing():
    x, y = cloud(40, 5), cloud(40, 3, seed=1)
    padded = torch.nn.functional.pad(y, (0, 2))
    for measure in MEASURES.values():
        assert measure(x, y) == pytest.approx(measure(x, padded), abs=1e-12)


def test_procrustes_in_the_plane_against_a_scan_of_all_rotations_and_reflections():
    x, y = cloud(20, 2), cloud(20, 2, seed=1)
    x, y = x - x.mean(0), y - y.mean(0)
    t = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)
    c, s = t.cos(), t.sin()
    turns = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
    both = torch.cat([turns, turns @ torch.diag(torch.tensor([1.0, -1]).double())])
    least = float((x - y @ both).flatten(1).norm(dim=1).min())
    assert procrustes(x, y, angular=False) == pytest.approx(least, abs=1e-6)
    assert procrustes(x, y, angular=False) <= least + 1e-12
    # the angle, from the nuclear norm of its definition
    cosine = float(torch.linalg.svdvals(x.T @ y).sum() / (x.norm() * y.norm()))
    assert procrustes(x, y) == pytest.approx(math.acos(cosine), abs=1e-9)


def test_the_procrustes_angle_keeps_the_triangle_inequality():
    clouds = [cloud(25, 2 + s % 4, seed=s) for s in range(8)]
    d = torch.tensor([[procrustes(a, b) for b in clouds] for a in clouds])
    assert bool((d[:, None, :] <= d[:, :, None] + d[None] + 1e-9).all())


def test_a_tiny_angle_keeps_its_digits():
    x = cloud(50, 3)
    x = x - x.mean(0)
    y = x.clone()
    y[:, 0] += 1e-9 * cloud(50, 1, seed=1)[:, 0]
    assert 1e-11 < procrustes(x, y) < 1e-8


def test_more_dimensions_than_points():
    x = cloud(12, 400)
    y = cloud(12, 300, seed=1)
    assert procrustes(x, x @ orthogonal(400)) == pytest.approx(0, abs=1e-12)
    a, b = x - x.mean(0), y - y.mean(0)
    cosine = float(torch.linalg.svdvals(a.T @ b).sum() / (a.norm() * b.norm()))
    assert procrustes(x, y) == pytest.approx(math.acos(cosine), abs=1e-9)


def test_coordinates_of_a_gram_matrix_are_the_points_up_to_a_rotation():
    x, y = cloud(40, 6), cloud(40, 4, seed=1)
    again = coordinates(x @ x.T)
    assert again.shape == (40, 6)
    assert procrustes(again, x, angular=False) < 1e-10
    assert procrustes(again, coordinates(y @ y.T)) == pytest.approx(procrustes(x, y), abs=1e-9)


def test_cca_of_known_correlations():
    x = cloud(4000, 2)
    z = cloud(4000, 2, seed=1)
    both = torch.linalg.qr(torch.cat([x, z], 1) - torch.cat([x, z], 1).mean(0))[0]
    x, z = both[:, :2], both[:, 2:]
    rho = torch.tensor([0.8, 0.3], dtype=torch.float64)
    y = x * rho + z * (1 - rho**2).sqrt()
    assert mean_cca(x, y @ cloud(2, 2, seed=5), share=1.0) == pytest.approx(0.55, abs=1e-9)


def test_dtype_and_inputs_are_left_alone():
    x, y = cloud(30, 4).float(), cloud(30, 5, seed=1).float()
    before = x.clone(), y.clone()
    for measure in MEASURES.values():
        assert measure(x, y) == measure(x.double(), y.double())
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@pytest.mark.parametrize("name", MEASURES)
def test_bad_input_is_named(name):
    measure, x = MEASURES[name], cloud(20, 3)
    with pytest.raises(ShapeError, match="20 points and the second 19"):
        measure(x, cloud(19, 3))
    with pytest.raises(ShapeError, match=r"second representation has shape \(2, 20, 3\)"):
        measure(x, cloud(40, 3).reshape(2, 20, 3))
    with pytest.raises(DegenerateDataError, match="points of the second"):
        measure(x, torch.ones(20, 3))
    with pytest.raises(DegenerateDataError, match="points of the first"):
        measure(torch.full((20, 3), 0.1), x)
    bad = x.clone()
    bad[7, 1] = torch.nan
    with pytest.raises(NonFiniteStatesError, match="first at point 7"):
        measure(bad, x)


def test_bad_gram_matrices_are_named():
    x = cloud(20, 3)
    k = x @ x.T
    with pytest.raises(ShapeError, match=r"\(20, 3\)"):
        cka_of_grams(k, x)
    with pytest.raises(ShapeError, match="20 points"):
        cka_of_grams(k, k[:10, :10])
    with pytest.raises(DegenerateDataError):
        cka_of_grams(k, torch.ones(20, 20))
    with pytest.raises(ShapeError, match="at least 4"):
        cka(x[:3], x[:3])


def test_cca_refuses_what_correlates_by_construction():
    with pytest.raises(ShapeError, match="correlate perfectly"):
        mean_cca(cloud(20, 15), cloud(20, 15, seed=1), share=1.0)
    with pytest.raises(ShapeError, match="share"):
        mean_cca(cloud(20, 2), cloud(20, 2), share=1.5)
