"""The neighbour graph against differences of all pairs, where products lose every digit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynprobe.dimension import NeighborGraph, distances, nearest
from dynprobe.errors import (
    DegenerateDataError,
    NonFiniteStatesError,
    ParameterError,
    ShapeError,
)


def cloud(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_pairs(x):
    """(n, n) distances from differences, Inf on the diagonal."""
    d = (x[:, None] - x[None]).square().sum(-1).sqrt()
    d.fill_diagonal_(torch.inf)
    return d


def near_duplicates(gap):
    x = cloud(150, 12)
    return torch.cat([x, x + gap * cloud(150, 12, seed=1)])


CLOUDS = {
    "normal": cloud(700, 30),
    "far from the origin": cloud(300, 12) + 1e7,
    "near duplicates, 1e-5": near_duplicates(1e-5),
    "near duplicates, 1e-9": near_duplicates(1e-9),
    "near duplicates, 1e-12": near_duplicates(1e-12),
    "tight clusters far apart": torch.cat([1e-6 * cloud(150, 12), 1e3 + 1e-6 * cloud(150, 12, 1)]),
    "one outlier": torch.cat([cloud(300, 12), torch.full((1, 12), 1e8, dtype=torch.float64)]),
    "one outlier, where products underflow": torch.cat(
        [cloud(300, 12), torch.full((1, 12), 1e22, dtype=torch.float64)]
    ),
    "large": 1e30 * cloud(300, 12),
    "small": 1e-30 * cloud(300, 12),
    "one feature": cloud(300, 1),
    "few points": cloud(12, 3),
}


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("k", [1, 7])
def test_neighbours_are_those_of_differences_of_all_pairs(name, k):
    x = CLOUDS[name]
    graph = NeighborGraph.of(x, k)
    expected = all_pairs(x).topk(k, largest=False)
    torch.testing.assert_close(graph.distances, expected.values, rtol=1e-12, atol=0)
    found = all_pairs(x).gather(1, graph.indices)
    torch.testing.assert_close(found, expected.values, rtol=1e-12, atol=0)


def test_products_in_float32_alone_would_miss_the_near_duplicates():
    """What the certificate is for: the same search without it takes the wrong neighbour."""
    x, push = cloud(100, 12) + 50, cloud(100, 12, seed=1)
    x = torch.cat([x, x + 3e-9 * push, x + 1e-9 * push])
    naive = torch.cdist(x.float(), x.float(), compute_mode="use_mm_for_euclid_dist")
    naive.fill_diagonal_(torch.inf)
    right = torch.arange(100) + 200
    assert (naive.argmin(1)[:100] != right).any()
    assert torch.equal(NeighborGraph.of(x, 1).indices[:100, 0], right)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(5, 90),
    d=st.integers(1, 6),
    log_gap=st.integers(-14, 0),
    shift=st.sampled_from([0.0, 1.0, 1e4]),
    seed=st.integers(0, 10_000),
)
def test_any_scale_of_gaps(n, d, log_gap, shift, seed):
    x = cloud(n, d, seed)
    x = torch.cat([x, x + 10.0**log_gap * cloud(n, d, seed + 1)]) + shift
    expected = all_pairs(x).topk(4, largest=False).values
    if bool((expected == 0).any()):
        return  # duplicates, tested on their own
    torch.testing.assert_close(NeighborGraph.of(x, 4).distances, expected, rtol=1e-9, atol=0)


def test_ties_of_a_lattice():
    axis = torch.arange(9.0)
    x = torch.cartesian_prod(axis, axis, axis)
    expected = all_pairs(x.double()).topk(6, largest=False).values
    assert torch.equal(NeighborGraph.of(x, 6).distances, expected)


def test_the_smallest_of_a_block_are_found_through_folds():
    block = torch.rand(40, 16 * 30, generator=torch.Generator().manual_seed(0))
    values, columns = nearest._smallest(block, 11)
    assert torch.equal(values.sort(1).values, block.topk(11, largest=False).values.sort(1).values)
    assert torch.equal(block.gather(1, columns), values)


def test_products_of_less_precision_than_their_dtype_are_noticed(monkeypatch):
    x = cloud(400, 16)
    expected = NeighborGraph.of(x, 5)
    real = torch.addmm
    monkeypatch.setattr(
        torch,
        "addmm",
        lambda b, m, n, alpha: real(
            b, m.bfloat16().to(m.dtype), n.bfloat16().to(n.dtype), alpha=alpha
        ),
    )
    assert distances.Products.of(x, torch.float32).lower(torch.arange(400)) is None
    assert torch.equal(NeighborGraph.of(x, 5).indices, expected.indices)


def test_duplicates_are_counted_and_merged():
    x = cloud(200, 5)
    twice = torch.cat([x, x[:50], x[:10], -0.0 * x[:1] + x[:1]])
    graph = NeighborGraph.of(twice, 6)
    assert graph.n_duplicates == 61
    assert len(graph.distances) == 200
    assert torch.equal(graph.distinct[graph.inverse], twice)
    assert torch.equal(twice[graph.kept], graph.distinct)
    assert (graph.kept < 200).all()  # the first of each
    mine, theirs = graph.distances[graph.inverse[:200]], NeighborGraph.of(x, 6).distances
    torch.testing.assert_close(mine, theirs, rtol=1e-14, atol=0)
    zeros = torch.tensor([[0.0, 1], [-0.0, 1], [2, 3], [5, 7]])
    assert NeighborGraph.of(zeros, 1).n_duplicates == 1
    assert "61 duplicates" in repr(graph)


def test_what_is_given_is_left_alone_and_may_be_of_any_kind():
    x = cloud(80, 4).float().requires_grad_()
    before = x.detach().clone()
    graph = NeighborGraph.of(x, 3)
    assert torch.equal(x.detach(), before)
    assert not graph.distances.requires_grad
    array = x.detach().numpy()
    array.flags.writeable = False
    assert torch.equal(NeighborGraph.of(array, 3).indices, graph.indices)
    assert NeighborGraph.of(x.detach().bfloat16(), 3).k == 3
    assert NeighborGraph.of(torch.randint(0, 1000, (50, 3)), 3).distances.dtype == torch.float64


@pytest.mark.parametrize(
    ("x", "k", "error", "said"),
    [
        (cloud(5, 2), 5, ShapeError, "5 neighbours need at least 6 points and there are 5"),
        (cloud(4, 2).repeat(3, 1), 5, ShapeError, "6 distinct points and there are 4"),
        (torch.ones(9, 2), 3, DegenerateDataError, "All points are the same"),
        (torch.tensor([[0.0], [1], [torch.nan], [2]]), 1, NonFiniteStatesError, "at point 2"),
        (cloud(5, 2)[None], 1, ShapeError, r"\(1, 5, 2\)"),
        (cloud(5, 2)[:, :0], 1, ShapeError, r"\(5, 0\)"),
        (cloud(1, 2), 1, ShapeError, "at least 2 points"),
        (cloud(5, 2) * 1j, 1, ShapeError, "complex"),
        (cloud(5, 2), 0, ParameterError, "k is 0"),
        (cloud(5, 2), 1.5, ParameterError, "k is 1.5"),
        (1e-200 * cloud(5, 2), 1, DegenerateDataError, "Multiply"),
        (1e200 * cloud(5, 2), 1, NonFiniteStatesError, "squares overflow"),
    ],
)
def test_bad_input_is_named(x, k, error, said):
    with pytest.raises(error, match=said):
        NeighborGraph.of(x, k)


def test_too_few_neighbours_are_refused():
    with pytest.raises(ShapeError, match=r"MLE needs 20 .* holds 3: .*NeighborGraph.of\(X, 20\)"):
        NeighborGraph.of(cloud(50, 2), 3).nearest(20, "MLE")


@pytest.mark.requires("cuda")
def test_the_same_graph_on_an_accelerator():
    x = CLOUDS["near duplicates, 1e-9"]
    mine, theirs = NeighborGraph.of(x, 7), NeighborGraph.of(x.cuda(), 7)
    assert theirs.distances.is_cuda
    torch.testing.assert_close(theirs.distances.cpu(), mine.distances, rtol=1e-12, atol=0)
