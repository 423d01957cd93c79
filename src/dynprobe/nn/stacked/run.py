"""The pass over time as one differentiable function with its own backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynprobe.nn.stacked.unrolled import Unrolled


class Pool:
    """Keeps the buffers of the last finished pass for the next one of the same size.

    Fresh memory of this size costs a page fault every few kilobytes, more than some of the work
    that is done in it.
    """

    def __init__(self, cell: type[Unrolled]) -> None:
        self.cell = cell
        self._free: Unrolled | None = None

    def take(self, ids: Tensor, weight: Tensor) -> Unrolled:
        """Return buffers that nobody else uses, for the arguments of :meth:`Unrolled.forward`."""
        found, self._free = self._free, None
        models, steps, batch = ids.shape
        hidden = weight.shape[2]
        if (
            found is not None
            and found.shape == (models, steps, batch, hidden)
            and (found.h.dtype, found.h.device) == (weight.dtype, weight.device)
        ):
            return found
        # Memory made in inference mode could not be written to outside of it.
        with torch.inference_mode(False):
            return self.cell(models, steps, batch, hidden, weight)

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a file of a stack goes without buffers."""
        return {"cell": self.cell, "_free": None}

    def give(self, unrolled: Unrolled) -> None:
        """Take buffers back that are not needed any more."""
        self._free = unrolled


class Run(torch.autograd.Function):
    """``Run.apply(pool, ids, last, table, weight, *initial)`` -> parts of the final state.

    See :meth:`Unrolled.forward` for the arguments. The backward pass uses up what the forward pass
    kept; a second one through the same graph runs forward again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pool: Pool,
        ids: Tensor,
        last: Tensor | None,
        table: Tensor,
        weight: Tensor,
        *initial: Tensor,
    ) -> tuple[Tensor, ...]:
        unrolled = pool.take(ids, weight)
        unrolled.forward(table, ids, weight, initial)
        ctx.pool, ctx.unrolled, ctx.last = pool, unrolled, last
        ctx.save_for_backward(ids, table, weight, *initial)
        return unrolled.final(last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ids, table, weight, *initial = ctx.saved_tensors
        unrolled: Unrolled | None = ctx.unrolled
        ctx.unrolled = None
        if unrolled is None:
            unrolled = ctx.pool.take(ids, weight)
            unrolled.forward(table, ids, weight, initial)
        by_table, by_weight, by_initial = unrolled.backward(
            ids, table.shape[1], ctx.last, weight, grads
        )
        ctx.pool.give(unrolled)
        return None, None, None, by_table, by_weight, *by_initial


def run_over_time(
    pool: Pool,
    ids: Tensor,
    last: Tensor | None,
    table: Tensor,
    weight: Tensor,
    initial: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Final states, each ``(models, batch, hidden)``, with a graph where one is asked for."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in (table, weight, *initial)):
        differentiable: Callable[..., tuple[Tensor, ...]] = Run.apply
        return differentiable(pool, ids, last, table, weight, *initial)
    unrolled = pool.take(ids, weight)
    unrolled.forward(table, ids, weight, initial)
    final = unrolled.final(last)
    pool.give(unrolled)
    return final
