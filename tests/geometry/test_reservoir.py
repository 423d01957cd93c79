"""A reservoir is uniform, and the same however its stream is cut, ordered and merged."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from dynprobe.errors import ParameterError, ShapeError
from dynprobe.geometry.reservoir import Reservoir, keys_of


def cloud(count, dim=3, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def same(a, b):
    return a.seen == b.seen and torch.equal(a.points, b.points) and torch.equal(a.keys, b.keys)


@pytest.mark.parametrize("points", [cloud(200), torch.arange(200.0)[:, None]])
def test_over_seeds_every_point_is_as_likely(points):
    taken = torch.zeros(200)
    runs, size = 2000, 20
    for seed in range(runs):
        taken[keys_of(points, seed).argsort()[:size]] += 1
    expected = torch.full((200,), runs * size / 200)
    # of a multinomial: taking without replacement spreads less, by the factor 1 - size / 200
    statistic = float(((taken - expected) ** 2 / expected).sum()) / (1 - size / 200)
    assert 140 < statistic < 260  # chi-square of 199 degrees: mean 199, standard deviation 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_within_one_seed_no_part_of_a_line_is_preferred(dtype):
    line = torch.arange(20_000, dtype=dtype)[:, None] / 7
    found = Reservoir.empty(4000, 1, seed=3).add(line)
    counts = torch.histc(found.points, bins=40, min=0, max=float(line.max()))
    assert chisquare(counts.numpy()).pvalue > 0.01
    assert len(found.points.unique()) == 4000


def test_the_first_of_a_sample_are_a_smaller_sample():
    points = cloud(500)
    large, small = Reservoir.empty(100, 3).add(points), Reservoir.empty(10, 3).add(points)
    assert torch.equal(large.points[:10], small.points)


@given(st.lists(st.integers(0, 60), max_size=4), st.integers(0, 5), st.randoms())
def test_cuts_order_and_merging_change_nothing(cuts, seed, random):
    points = cloud(60)
    empty = Reservoir.empty(17, 3, seed)
    whole = empty.add(points)
    edges = sorted({0, 60, *cuts})
    parts = [points[i:j] for i, j in pairwise(edges)]
    random.shuffle(parts)
    streamed = merged = empty
    for part in parts:
        streamed = streamed.add(part)
        merged = empty.add(part).merge(merged)
    assert same(whole, streamed)
    assert same(whole, merged)


def test_merging_is_associative_and_commutative():
    a, b, c = (Reservoir.empty(15, 3).add(cloud(40, seed=s)) for s in range(3))
    assert same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert same(a.merge(b), b.merge(a))


def test_few_points_are_all_kept_and_none_is_none():
    points = cloud(5)
    found = Reservoir.empty(8, 3).add(points[:0]).add(points)
    assert found.seen == 5
    assert torch.equal(found.points.sort(0).values, points.double().sort(0).values)
    assert Reservoir.empty(8, 3).points.shape == (0, 3)


def test_adding_leaves_the_old_sample_and_the_global_state_alone():
    points = cloud(50)
    before = Reservoir.empty(10, 3).add(points)
    kept, state = before.points.clone(), torch.get_rng_state()
    before.add(cloud(50, seed=1))
    assert torch.equal(before.points, kept)
    assert torch.equal(torch.get_rng_state(), state)


def test_equal_points_share_their_fate_unless_a_column_tells_them_apart():
    points = torch.cat([torch.zeros(300, 3), cloud(700)])
    apart = torch.cat([points, torch.arange(1000.0)[:, None]], dim=1)
    together, single = [], []
    for seed in range(200):
        found = Reservoir.empty(50, 3, seed).add(points).points
        together.append(int((found == 0).all(1).sum()))
        found = Reservoir.empty(50, 4, seed).add(apart).points[:, :3]
        single.append(int((found == 0).all(1).sum()))
    assert max(together) > 40
    assert min(together) == 0
    # 50 of 1000, 300 of them zeros: hypergeometric, mean 15, standard deviation 3.2
    assert abs(sum(single) / 200 - 15) < 0.7
    assert max(single) < 28


def test_the_sample_depends_on_the_values_not_on_dtype_or_sign_of_zero():
    points = torch.tensor([[0.0, 1.5], [2.0, -3.0]])
    keys = keys_of(points, 1)
    assert torch.equal(keys, keys_of(points.double(), 1))
    assert torch.equal(keys, keys_of(torch.tensor([[-0.0, 1.5], [2.0, -3.0]]), 1))
    assert keys[0] != keys_of(points.flip(1), 1)[0]


def test_what_does_not_fit_is_named():
    found = Reservoir.empty(10, 3)
    with pytest.raises(ParameterError, match="size is 0"):
        Reservoir.empty(0, 3)
    with pytest.raises(ShapeError, match=r"takes \(count, 3\)"):
        found.add(cloud(4, 2))
    with pytest.raises(ParameterError, match="seeds 0 and 1"):
        found.merge(Reservoir.empty(10, 3, seed=1))
    with pytest.raises(ShapeError, match="width 3 and 2"):
        found.merge(Reservoir.empty(10, 2))


@pytest.mark.requires("cuda")
def test_points_on_an_accelerator_give_the_same_sample():
    points = cloud(200)
    empty = Reservoir.empty(20, 3)
    assert same(empty.add(points), empty.add(points.cuda()))
