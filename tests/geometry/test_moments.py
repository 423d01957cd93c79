"""Running moments are those of all points, however these come."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynprobe.geometry.moments import Moments


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    """Entries of a scatter, relative to the diagonal."""
    scale = torch.outer(b.diagonal(), b.diagonal()).sqrt().clamp(min=1e-300)
    assert float(((a - b) / scale).abs().max()) < tolerance


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 3000), max_size=4),
    width=st.integers(1, 9),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    offset=st.sampled_from([0.0, 1e3]),
)
def test_of_batches_as_numpy_has_them_of_everything(cuts, width, dtype, offset):
    x = (torch.randn(3000, width, generator=torch.Generator().manual_seed(0)) + offset).to(dtype)
    edges = [0, *sorted(cuts), len(x)]
    parts = [Moments.of(x[a:b]) for a, b in itertools.pairwise(edges)]
    whole = reduce(Moments.merge, parts)
    assert whole.count == 3000
    assert np.allclose(whole.mean, x.double().numpy().mean(0), rtol=1e-13, atol=1e-13)
    exact = np.atleast_2d(np.cov(x.double().numpy().T))
    close(whole.covariance, torch.from_numpy(exact), 1e-12)
    assert torch.equal(whole.scatter, whole.scatter.T)


@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
def test_products_in_single_precision_of_points_near_their_mean(offset):
    x = torch.randn(20_000, 16) @ torch.randn(16, 16) + offset
    exact = Moments.of(x)
    close(Moments.of(x, single=True).scatter, exact.scatter, 1e-6)
    plain = (x.T @ x).double() - len(x) * torch.outer(exact.mean, exact.mean)
    error = (plain - exact.scatter).abs().max() / exact.scatter.diagonal().max()
    assert offset < 100 or error > 1e-4  # which is why they are centred first


def test_points_of_double_precision_stay_so():
    x = torch.randn(2000, 5, dtype=torch.float64)
    assert torch.equal(Moments.of(x, single=True).scatter, Moments.of(x).scatter)


def test_points_on_a_line_have_one_dimension():
    """Float32 products would leave 1e-8 of the variance beside it."""
    x = (torch.randn(5000, 1) @ torch.randn(1, 8)).float()
    variances, _ = Moments.of(x).principal_components()
    assert variances[1] < 1e-12 * variances[0]


def test_of_nothing_and_of_one():
    none = Moments.of(torch.zeros(0, 3))
    assert none.count == 0
    one = none.merge(Moments.of(torch.ones(1, 3)))
    assert one.mean.tolist() == [1.0, 1.0, 1.0]
    assert one.scatter.abs().max() == 0
