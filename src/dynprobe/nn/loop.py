"""What the cells of this package share: a layer made of one, and the frame of its map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.recurrences import Layout, Recurrence


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
    module : nn.Module
        The cell, with ``input_size`` and ``hidden_size``; called as ``module(x, h)``.
    """

    module: nn.Module

    def __init__(self, module: nn.Module) -> None:
        sizes: Any = module
        self.module = module
        self.layout = Layout.of(h=sizes.hidden_size)
        self.input_dim = sizes.input_size

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
