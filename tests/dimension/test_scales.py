"""Dimension by scale on clouds whose dimension is known at every scale, or is none."""

from __future__ import annotations

import math

import pytest
import torch
from clouds import cube, noisy, sphere

from dynprobe.dimension.scales import ESTIMATORS, dimension_scales


def scales(x):
    found = dimension_scales(torch.as_tensor(x), progress=lambda done, total: None)
    for curve in found.curves.values():
        for numbers in (curve.radius, curve.dimension, curve.low, curve.high):
            assert numbers.shape == curve.neighbors.shape
            assert bool(numbers.isfinite().all())
        assert bool((curve.low <= curve.high).all())
        assert bool((curve.radius.diff() > 0).all())
    return found


def at(curve, k):
    return float(curve.dimension[curve.neighbors == k])


def test_a_plane_is_two_dimensional_at_every_scale():
    found = scales(cube(1500, 2, 20))
    assert set(found.curves) == set(ESTIMATORS)
    assert found.notes == ()
    assert found.curves["GRIDE"].neighbors.tolist() == [2, 4, 8, 16, 32, 64, 128, 256]
    for curve in found.curves.values():
        assert bool(((curve.dimension - 2).abs() < 0.25).all())
    # the unit square: mean square distance from the mean is 2 / 12
    assert found.radius == pytest.approx(math.sqrt(1 / 6), rel=0.05)


def test_a_noisy_plane_is_noise_near_and_a_plane_far():
    found = scales(noisy(1500, 2, 20, 0.01))
    for name, near, far in (("GRIDE", 2, 256), ("MLE", 4, 256), ("local PCA", 16, 128)):
        curve = found.curves[name]
        assert at(curve, near) > at(curve, far) + 0.2
    assert at(found.curves["GRIDE"], 2) > 7
    assert abs(at(found.curves["GRIDE"], 256) - 2) < 0.3


def test_a_sphere_is_flat_near_by_however_curved_as_a_whole():
    found = scales(sphere(1500, 2, 20))
    assert abs(at(found.curves["local PCA"], 16) - 2) < 0.2
    assert abs(at(found.curves["GRIDE"], 16) - 2) < 0.2


def test_one_feature_has_one_dimension():
    found = scales(cube(400, 1))
    assert abs(at(found.curves["GRIDE"], 32) - 1) < 0.15
    assert found.curves["local PCA"].dimension.tolist() == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(
    ("x", "distinct", "said"),
    [
        (torch.ones(50, 3), 1, "1 distinct state of 50"),
        (torch.tensor([[0.0, 1.0], [2.0, 3.0]]), 2, "2 distinct states of 2"),
        (torch.arange(2.0).repeat(30)[:, None], 2, "2 distinct states of 60"),
        (torch.ones(1, 3), 1, "1 distinct state of 1"),
    ],
)
def test_too_few_distinct_points_give_a_reason_and_no_curve(x, distinct, said):
    found = scales(x)
    assert found.curves == {}
    assert said in found.notes[0]
    assert found.n_points - found.n_duplicates == distinct


def test_duplicates_are_counted_and_change_no_curve():
    x = torch.as_tensor(cube(300, 2))
    found, twice = scales(x), scales(x.repeat(2, 1))
    assert twice.n_duplicates == 300
    for name, curve in found.curves.items():
        torch.testing.assert_close(curve.dimension, twice.curves[name].dimension)


def test_a_grid_says_nothing_near_and_is_measured_far():
    side = torch.arange(20.0)
    found = scales(torch.cartesian_prod(side, side))
    gride = found.curves["GRIDE"]
    assert 2 not in gride.neighbors.tolist()
    assert abs(float(gride.dimension[-1]) - 2) < 0.3
    assert any("GRIDE says nothing at 2" in note for note in found.notes)


def test_few_points_leave_out_what_they_cannot_tell():
    found = scales(cube(20, 2))
    assert set(found.curves) == {"GRIDE", "MLE"}
    assert found.notes == ("local PCA needs 64 distinct states",)
