"""What the cells of this package share: parameters, a layer made of one, the frame of its map."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from dynprobe.recurrences import Layout, Recurrence


class HiddenCell(nn.Module):
    """A cell with one state h, with the calling convention of ``nn.GRUCell``.

    Parameters are ``weight_ih`` (gates * hidden, input), ``weight_hh`` (gates * hidden, hidden) and
    ``bias`` (gates * hidden), one gate below the other.

    Parameters
    ----------
    input_size, hidden_size : int
        Widths of input and state.
    generator : torch.Generator, optional
        For the initial weights: normal with variance 1 / fan-in, biases zero.
    """

    n_gates: ClassVar[int]

    def __init__(
        self, input_size: int, hidden_size: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        rows = self.n_gates * hidden_size
        self.weight_ih = nn.Parameter(
            torch.randn(rows, input_size, generator=generator) / input_size**0.5
        )
        self.weight_hh = nn.Parameter(
            torch.randn(rows, hidden_size, generator=generator) / hidden_size**0.5
        )
        self.bias = nn.Parameter(torch.zeros(rows))

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """(batch, input), (batch, hidden) or None for zeros -> (batch, hidden)."""
        return self.next(x, x.new_zeros(*x.shape[:-1], self.hidden_size) if h is None else h)

    @abstractmethod
    def next(self, x: Tensor, h: Tensor) -> Tensor:
        """The next state."""


class CellLoop(nn.Module):
    """Run a cell over time: (batch, time, input) -> (batch, time, hidden), final (batch, hidden).

    Parameters
    ----------
    cell : nn.Module
        Called as ``cell(x, h)`` with h None at the start.
    """

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return every state and the last one; needs at least one step.

        Raises
        ------
        ValueError
            If there is no step, or h is not (batch, hidden): ``nn.GRU``'s has a first dimension of
            layers, which this layer has not.
        """
        if h is not None and (h.dim() != x.dim() - 1 or h.shape[0] != x.shape[0]):
            raise ValueError(
                f"The initial state has shape {tuple(h.shape)}, and the input {tuple(x.shape)}. "
                "Pass (batch, hidden)."
            )
        states = []
        for step in x.unbind(1):
            h = self.cell(step, h)
            states.append(h)
        if h is None:
            raise ValueError(f"The input has no step to run over: its shape is {tuple(x.shape)}.")
        return torch.stack(states, dim=1), h


class HiddenRecurrence(Recurrence):
    """Map of a cell with one state h, a mixture of itself and a tanh, so within the unit box.

    Parameters
    ----------
    module : HiddenCell
        The cell.
    """

    module: HiddenCell

    def __init__(self, module: HiddenCell) -> None:
        self.module = module
        self.layout = Layout.of(h=module.hidden_size)
        self.input_dim = module.input_size

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        out = self.call(x, state)
        assert isinstance(out, Tensor)
        return out

    def weight(self, name: str, like: Tensor) -> Tensor:
        """A parameter of the cell, detached, in the dtype and on the device of `like`."""
        parameter: Tensor = getattr(self.module, name)
        return parameter.detach().to(like.device, like.dtype)

    def bound(self, x: Tensor) -> Tensor | None:
        return x.new_ones(x.shape[0], self.state_dim)


class DrivenRecurrence(HiddenRecurrence):
    """Such a cell all of whose nonlinearities see one affine drive."""

    def drive(self, state: Tensor, x: Tensor) -> Tensor:
        """What the nonlinearities see, W_ih x + W_hh h + b."""
        ih, hh = self.weight("weight_ih", state), self.weight("weight_hh", state)
        return x @ ih.T + state @ hh.T + self.weight("bias", state)
