"""The GRU that resets the state before the matrix product, as Cho et al. 2014 write it."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.nn.loop import CellLoop, HiddenCell, HiddenRecurrence
from dynprobe.recurrences import register_recurrence
from dynprobe.recurrences.scaled_rows import add_diagonal, add_scaled_rows, scaled_rows


class ResetFirstGRUCell(HiddenCell):
    """One step of a gated recurrent unit, with the calling convention of ``nn.GRUCell``.

    r = sigmoid(W_r x + V_r h + b_r), z = sigmoid(W_z x + V_z h + b_z),
    n = tanh(W_n x + V_n (r * h) + b_n), h' = n + z * (h - n).

    This is the unit of Cho et al. 2014 (arXiv 1406.1078v3), of Keras with ``reset_after=False``
    and of the reference implementation of Aitken et al. 2020. ``nn.GRU`` multiplies by r after the
    product, n = tanh(W_n x + b + r * (V_n h + b')).

    Parameters
    ----------
    input_size, hidden_size : int
        Widths of input and state.
    generator : torch.Generator, optional
        For the initial weights: normal with variance 1 / fan-in, biases zero.

    Notes
    -----
    Parameters are ``weight_ih`` (3 hidden, input), ``weight_hh`` (3 hidden, hidden) and ``bias``
    (3 hidden), the gates in the order r, z, n of ``nn.GRU``.
    """

    n_gates = 3

    def next(self, x: Tensor, h: Tensor) -> Tensor:
        """The next state."""
        _, z, n = gates(x, h, self.weight_ih, self.weight_hh, self.bias)
        return n + z * (h - n)


def gates(
    x: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """r, z and n of :class:`ResetFirstGRUCell`, each (batch, hidden)."""
    hidden = h.shape[-1]
    by_input = x @ weight_ih.T + bias
    r, z = torch.sigmoid(by_input[..., : 2 * hidden] + h @ weight_hh[: 2 * hidden].T).chunk(2, -1)
    n = torch.tanh(by_input[..., 2 * hidden :] + (r * h) @ weight_hh[2 * hidden :].T)
    return r, z, n


class ResetFirstGRU(CellLoop):
    """A layer of such units: (batch, time, input) -> (batch, time, hidden), final h.

    Parameters are as for :class:`ResetFirstGRUCell`; a probe sees its ``cell``.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(ResetFirstGRUCell(input_size, hidden_size, generator=generator))


@register_recurrence(ResetFirstGRUCell)
class ResetFirstGRURecurrence(HiddenRecurrence):
    """Map of the unit; its root form is n(h) - h, which a shut gate does not hide."""

    module: ResetFirstGRUCell

    def _gates(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        names = ("weight_ih", "weight_hh", "bias")
        return gates(x, state, *(self.weight(name, state) for name in names))

    def _through_reset(self, state: Tensor, r: Tensor, n: Tensor, matrix: Tensor) -> Tensor:
        """dn/d(.) by way of the reset gate, whose weights are the first rows of `matrix`."""
        v_n = self.weight("weight_hh", state).chunk(3)[2]
        return scaled_rows(
            (1 - n**2, (v_n * (state * r * (1 - r)).unsqueeze(-2)) @ matrix.chunk(3)[0])
        )

    def _candidate_jacobian(self, state: Tensor, r: Tensor, n: Tensor) -> Tensor:
        """dn/dh."""
        v = self.weight("weight_hh", state)
        direct = v.chunk(3)[2] * r.unsqueeze(-2)
        return add_scaled_rows(self._through_reset(state, r, n, v), (1 - n**2, direct))

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        r, z, n = self._gates(state, x)
        v_z = self.weight("weight_hh", state).chunk(3)[1]
        by_candidate = (1 - z, self._candidate_jacobian(state, r, n))
        return add_diagonal(scaled_rows(by_candidate, ((state - n) * z * (1 - z), v_z)), z)

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        r, z, n = self._gates(state, x)
        w = self.weight("weight_ih", state)
        _, w_z, w_n = w.chunk(3)
        of_candidate = add_scaled_rows(self._through_reset(state, r, n, w), (1 - n**2, w_n))
        return scaled_rows((1 - z, of_candidate), ((state - n) * z * (1 - z), w_z))

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        return self._gates(state, x)[2] - state

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        r, _, n = self._gates(state, x)
        return add_diagonal(self._candidate_jacobian(state, r, n), -1.0)
