"""What the mathematics of this package needs to know of a dynamical system: one map.

Everything in :mod:`dynprobe.dynamics` works on a :class:`Map`. Where the map comes from (a module,
a formula, a whole stack) is somebody else's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from dynprobe.dynamics.affine import AffineMap

# (state (batch, n), x (batch, m)) -> (batch, n)
StepFunction = Callable[[Tensor, Tensor], Tensor]

#: Numbers that a vectorised backward pass may hold in each of its arrays on a CPU: with several
#: times more it is 2 to 3 times slower than one pass for each output (``benchmarks/jacobians.py``).
CACHED = 2**17
#: A pass for fewer outputs than these is not worth vectorising.
LEAST = 8


class Map(Protocol):
    """A discrete-time system s' = F(s, x), batched and differentiable.

    Shapes: state (batch, state_dim), x (batch, input_dim). All methods compute in the dtype of
    the state they are given, whatever the dtype of the model's parameters.
    """

    @property
    def state_dim(self) -> int:
        """Width of the state."""

    @property
    def input_dim(self) -> int:
        """Width of the input."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the model itself computes in: it sets the rounding level of a drift."""

    @property
    def device(self) -> torch.device:
        """Where the map computes."""

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        """F(state, x), (batch, state_dim)."""

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """dF/dstate, (batch, state_dim, state_dim)."""

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """dF/dx, (batch, state_dim, input_dim)."""

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        """A function with the same zeros as F(s) - s, better conditioned where the cell has one."""

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """droot/dstate, (batch, state_dim, state_dim)."""

    def affine(self, x: Tensor) -> AffineMap | None:
        """The map F(., x) in closed form where it is affine in the state; None elsewhere."""

    def bound(self, x: Tensor) -> Tensor | None:
        """A box |s_i| <= bound_i that F(., x) maps into itself, (batch, state_dim), or None."""


def autograd_jacobian(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Jacobian of a batched function, row by row of the batch.

    Parameters
    ----------
    f : callable
        (batch, n) -> (batch, m), where row b of the output depends on row b of the input only.
    at : Tensor
        (batch, n).

    Returns
    -------
    Tensor
        (batch, m, n), df_i/dx_j of each row, detached.

    Notes
    -----
    Vectorised backward passes over the outputs: all at once where the batch is small, fewer or one
    by one where what a pass holds would not stay in a CPU's cache. ``torch.func.jacrev`` is not
    used: it fails on the fused recurrent kernels of torch.nn, which plain autograd differentiates.
    Where a kernel refuses vectorisation too, the outputs are taken one by one.
    """
    with torch.inference_mode(False), torch.enable_grad():
        # a clone: a tensor made in inference mode takes no gradient
        x = at.detach().clone().requires_grad_(True)
        y = f(x)
        m = y.shape[1]
        rows = y.new_zeros(x.shape[0], m, x.shape[1])
        if not y.requires_grad:  # f does not depend on x: a constant map has a zero Jacobian
            return rows
        basis = torch.eye(m, dtype=y.dtype, device=y.device)
        seeds = basis[:, None, :].expand(m, y.shape[0], m)

        def backward(seed: Tensor, *, batched: bool) -> Tensor:
            (grad,) = torch.autograd.grad(
                y, x, seed, is_grads_batched=batched, retain_graph=True, materialize_grads=True
            )
            return grad.detach()

        size = _outputs_at_once(m, x)
        try:
            for i in range(0, m, size) if size > 1 else ():
                rows[:, i : i + size] = backward(seeds[i : i + size], batched=True).transpose(0, 1)
        except RuntimeError:
            size = 1
        if size == 1:
            for i, seed in enumerate(seeds):
                rows[:, i] = backward(seed, batched=False)
    return rows


def _outputs_at_once(m: int, x: Tensor) -> int:
    """How many of m outputs one backward pass differentiates, by what is faster."""
    if x.device.type != "cpu":
        return m
    fit = CACHED // max(x.numel(), 1)
    return min(m, fit) if fit >= LEAST else 1
