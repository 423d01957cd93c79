from __future__ import annotations

import pytest
import torch

from dynprobe.recurrences.scan import _by_doubling, _by_steps, linear_scan


@pytest.mark.parametrize("time", [1, 2, 3, 7, 8, 9, 1000])
def test_both_ways_agree(time):
    generator = torch.Generator().manual_seed(time)
    f = torch.rand(3, time, 5, generator=generator)
    a = torch.randn(3, time, 5, generator=generator)
    start = torch.randn(3, 5, generator=generator)
    exact = _by_steps(f.double(), a.double(), start.double())
    for way in (_by_steps, _by_doubling, linear_scan):
        error = (way(f, a, start).double() - exact).norm() / exact.norm()
        assert error <= 1e-6


def test_gates_that_never_forget_or_always_do():
    ones, a = torch.ones(2, 50, 3), torch.randn(2, 50, 3)
    start = torch.randn(2, 3)
    torch.testing.assert_close(linear_scan(ones, a, start), a.cumsum(1) + start[:, None])
    assert torch.equal(linear_scan(torch.zeros(2, 50, 3), a, start), a)


def test_no_step():
    assert linear_scan(torch.ones(2, 0, 3), torch.ones(2, 0, 3), torch.ones(2, 3)).shape == (
        2,
        0,
        3,
    )


@pytest.mark.parametrize("way", [_by_steps, _by_doubling])
def test_gradients_flow_through_both_ways(way):
    f = torch.rand(2, 5, 3, dtype=torch.float64, requires_grad=True)
    a = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(way, (f, a, start))
