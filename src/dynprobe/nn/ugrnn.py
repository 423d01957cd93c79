"""The update-gate RNN: the smallest gated network (Collins et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.nn.loop import CellLoop, DrivenRecurrence, HiddenCell
from dynprobe.recurrences import register_recurrence
from dynprobe.recurrences.scaled_rows import add_diagonal, scaled_rows


class UGRNNCell(HiddenCell):
    """One step of an update-gate RNN, with the calling convention of ``nn.GRUCell``.

    u = sigmoid(W_u x + V_u h + b_u), c = tanh(W_c x + V_c h + b_c), h' = u * h + (1 - u) * c.

    Parameters
    ----------
    input_size, hidden_size : int
        Widths of input and state.
    generator : torch.Generator, optional
        For the initial weights: normal with variance 1 / fan-in, biases zero.

    Notes
    -----
    Parameters are ``weight_ih`` (2 hidden, input), ``weight_hh`` (2 hidden, hidden) and ``bias``
    (2 hidden), the update gate first.
    """

    n_gates = 2

    def next(self, x: Tensor, h: Tensor) -> Tensor:
        """The next state."""
        u, c = (x @ self.weight_ih.T + h @ self.weight_hh.T + self.bias).chunk(2, dim=-1)
        u = torch.sigmoid(u)
        return u * h + (1 - u) * torch.tanh(c)


class UGRNN(CellLoop):
    """A layer of update-gate units: (batch, time, input) -> (batch, time, hidden), final h.

    Parameters are as for :class:`UGRNNCell`; a probe sees its ``cell``.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(UGRNNCell(input_size, hidden_size, generator=generator))


@register_recurrence(UGRNNCell)
class UGRNNRecurrence(DrivenRecurrence):
    """Map of the update-gate RNN; its root form is c(h) - h, which a shut gate does not hide."""

    module: UGRNNCell

    def _gate_and_candidate(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        u, c = self.drive(state, x).chunk(2, dim=-1)
        return torch.sigmoid(u), torch.tanh(c)

    def _through_gates(self, state: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
        """dF/d(.) by way of gate and candidate, whose weights are stacked in `matrix`."""
        u, c = self._gate_and_candidate(state, x)
        w_u, w_c = matrix.chunk(2)
        return scaled_rows(((state - c) * u * (1 - u), w_u), ((1 - u) * (1 - c**2), w_c))

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        u, _ = self._gate_and_candidate(state, x)
        return add_diagonal(self._through_gates(state, x, self.weight("weight_hh", state)), u)

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        return self._through_gates(state, x, self.weight("weight_ih", state))

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        _, c = self._gate_and_candidate(state, x)
        return c - state

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        _, c = self._gate_and_candidate(state, x)
        return add_diagonal(
            scaled_rows((1 - c**2, self.weight("weight_hh", state).chunk(2)[1])), -1.0
        )
