"""Zeros of one map that are known already, and which of them governs a state."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

#: A state belongs to a zero when its residual is what the linearisation there says, up to this
#: share. Towards another zero nearby the linearisation is wrong by the whole residual, and by a
#: tenth at a tenth of the way: so the state is ten times closer to this one.
LINEAR = 0.1
#: Further than this (in state scales) no zero is asked whether it governs.
FAR = 0.1


@dataclass
class Zeros:
    """States where a residual vanishes, each with its Jacobian.

    Attributes
    ----------
    scale : float
        Size of a typical state.
    states : list of Tensor
        (n,) each.
    jacobians : list of Tensor
        (n, n) each, of the residual.
    """

    scale: float
    states: list[Tensor] = field(default_factory=list)
    jacobians: list[Tensor] = field(default_factory=list)

    def add(self, state: Tensor, jacobian: Tensor) -> None:
        """Learn of one more."""
        self.states.append(state)
        self.jacobians.append(jacobian)

    def governs(self, states: Tensor, residual: Tensor, which: Tensor) -> Tensor:
        """Whether zero `which` explains the residual at each state.

        Parameters
        ----------
        states, residual : Tensor
            (batch, n).
        which : Tensor
            (batch,).

        Returns
        -------
        Tensor
            (batch,) bool.
        """
        linear = torch.empty_like(states)
        for number in which.unique().tolist():
            rows = (which == number).nonzero().flatten()
            linear[rows] = (states[rows] - self.states[number]) @ self.jacobians[number].T
        error = (residual - linear).norm(dim=1)
        return torch.le(error, LINEAR * residual.norm(dim=1))

    def reached(self, states: Tensor, residual: Tensor) -> Tensor:
        """(batch,), the zero that governs each state, -1 where none does."""
        none = torch.full((len(states),), -1, dtype=torch.int64, device=states.device)
        if not self.states:
            return none
        distance, which = torch.cdist(states, torch.stack(self.states)).min(dim=1)
        close = (distance <= FAR * self.scale).nonzero().flatten()
        if len(close) == 0:
            return none
        sure = close[self.governs(states[close], residual[close], which[close])]
        none[sure] = which[sure]
        return none
