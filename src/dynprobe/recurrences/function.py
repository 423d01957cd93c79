"""A plain function as a recurrence."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.dynamics.maps import StepFunction
from dynprobe.errors import ShapeError
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.layout import Layout


class FunctionRecurrence(Recurrence):
    """The recurrence of a batched function F(s, x)."""

    def __init__(
        self,
        function: StepFunction,
        layout: Layout,
        input_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.function = function
        self.layout = layout
        self.input_dim = input_dim
        self._dtype = dtype
        self._device = device

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def device(self) -> torch.device:
        return self._device

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        out = self.function(state, x)
        if not isinstance(out, Tensor) or out.shape != state.shape:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ShapeError(
                f"The function of this recurrence returned {got} for a state of shape "
                f"{tuple(state.shape)}; it must return the next state in the same shape."
            )
        return out


def as_recurrence(
    function: StepFunction,
    *,
    state_dim: int | Layout,
    input_dim: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Recurrence:
    """Wrap any batched, differentiable function F(s, x) as a recurrence.

    Parameters
    ----------
    function : callable
        ``(state (batch, state_dim), x (batch, input_dim)) -> (batch, state_dim)``.
    state_dim : int or Layout
        Width of the state, or its named parts.
    input_dim : int
        Width of the input; an autonomous system takes 1 and ignores it.
    dtype : torch.dtype
        The precision the function is meant in: sets what counts as rounding in a certificate.
    device : torch.device or str
        Where the function computes.

    Examples
    --------
    >>> import torch, dynprobe
    >>> rnn = dynprobe.as_recurrence(lambda s, x: 0.5 * s + x, state_dim=2, input_dim=2)
    >>> rnn.step(torch.ones(1, 2), torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """
    layout = state_dim if isinstance(state_dim, Layout) else Layout.of(s=state_dim)
    return FunctionRecurrence(function, layout, input_dim, dtype, torch.device(device))
