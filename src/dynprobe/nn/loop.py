"""A layer made of a cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        """Return every state and the last one; needs at least one step."""
        states = []
        for step in x.unbind(1):
            h = self.cell(step, h)
            states.append(h)
        if h is None:
            raise ValueError(f"The input has no step to run over: its shape is {tuple(x.shape)}.")
        return torch.stack(states, dim=1), h
