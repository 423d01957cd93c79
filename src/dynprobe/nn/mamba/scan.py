"""The selective scan of Mamba-1 as one differentiable function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from dynprobe.errors import BackendError, ShapeError
from dynprobe.nn.mamba.steps import backward_steps, forward_steps, stretch_of


def selective_scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run over time from a state of zero (Gu & Dao 2023, arXiv 2312.00752, algorithm 2).

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t,  y_t = C_t h_t + D x_t; for each of the inner
    channels h is a vector of N numbers.

    Parameters
    ----------
    x, dt : Tensor
        Inputs and step sizes, ``(batch, time, inner)``.
    A : Tensor
        Rates, ``(inner, N)``, at most 0 where the state is not to explode.
    B, C : Tensor
        What is written and read, ``(batch, time, N)``.
    D : Tensor
        Share of the input that passes by, ``(inner,)``.

    Returns
    -------
    Tensor
        ``(batch, time, inner)``. It can be differentiated once; a second time raises BackendError.

    Raises
    ------
    ShapeError
        If shapes, dtypes or devices do not fit, or the dtype is neither float32 nor float64.
    """
    _check(x, dt, A, B, C, D)
    given = (x, dt, A, B, C, D)
    if torch.is_grad_enabled() and any(z.requires_grad for z in given):
        differentiable: Callable[..., Tensor] = SelectiveScan.apply
        return differentiable(*given)
    y, _ = forward_steps(*given[:-1], stretch=max(1, x.shape[1]))
    return y.addcmul_(x, D)


@torch.no_grad()
def scan_states(x: Tensor, dt: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """Return every h_t of :func:`selective_scan`, ``(batch, time, inner, N)``, without a graph."""
    _check(x, dt, A, B, B, A[:, 0])
    # a state is what stands before the next step: one more step of nothing
    x, dt, B = (pad(z, (0, 0, 0, 1)) for z in (x, dt, B))
    _, states = forward_steps(x, dt, A, B, B, stretch=1)
    return states[1:].permute(1, 0, 3, 2)


class SelectiveScan(torch.autograd.Function):
    """``SelectiveScan.apply(x, dt, A, B, C, D)`` -> y, see :func:`selective_scan`."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        x, D = given[0], given[-1]
        y, starts = forward_steps(*given[:-1], stretch=stretch_of(x.shape[1]))
        ctx.save_for_backward(*given, starts)
        return y.addcmul_(x, D)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        by_given: Callable[..., tuple[Tensor, ...]] = ScanGradient.apply
        return by_given(grad, *ctx.saved_tensors)


class ScanGradient(torch.autograd.Function):
    """The backward pass of :class:`SelectiveScan`, as a function that has none of its own."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, *saved: Tensor) -> tuple[Tensor, ...]:
        x, dt, A, B, C, D, starts = saved
        by_x, *others = backward_steps(grad, x, dt, A, B, C, starts, stretch=stretch_of(x.shape[1]))
        return by_x.addcmul_(grad, D), *others, (grad * x).sum((0, 1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        raise BackendError(
            "selective_scan was differentiated twice, and its gradient has no derivative. For "
            "second derivatives write the recursion out as a loop over time."
        )


def _check(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> None:
    given = {"x": x, "dt": dt, "A": A, "B": B, "C": C, "D": D}
    if x.dim() == 3 and A.dim() == 2:
        (batch, time, inner), n = x.shape, A.shape[1]
        each, pair = (batch, time, inner), (batch, time, n)
        wanted = {"x": each, "dt": each, "A": (inner, n), "B": pair, "C": pair, "D": (inner,)}
        fits = all(z.shape == wanted[name] for name, z in given.items())
    else:
        fits = False
    if not fits:
        shapes = ", ".join(f"{name} {tuple(z.shape)}" for name, z in given.items())
        raise ShapeError(
            f"Shapes do not fit: {shapes}. Pass x and dt (batch, time, inner), A (inner, N), "
            "B and C (batch, time, N), D (inner,)."
        )
    if len({(z.dtype, z.device) for z in given.values()}) > 1 or x.dtype not in (
        torch.float32,
        torch.float64,
    ):
        kinds = ", ".join(f"{name} {z.dtype} on {z.device}" for name, z in given.items())
        raise ShapeError(f"{kinds}: pass all in float32, or all in float64, on one device.")
