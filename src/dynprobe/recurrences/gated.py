"""The maps of torch.nn's recurrent layers and cells, with closed-form Jacobians.

One class serves a layer of ``nn.GRU`` and an ``nn.GRUCell`` alike: what differs is only how the
parameters are called. Equations as in PyTorch's documentation of these modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.scaled_rows import add_diagonal, add_scaled_rows, scaled_rows


@dataclass(frozen=True)
class Weights:
    """Parameters of one layer: gates stacked along the first axis, absent biases are zeros."""

    ih: Tensor
    hh: Tensor
    b_ih: Tensor
    b_hh: Tensor
    hr: Tensor | None


class GatedRecurrence(Recurrence):
    """A layer whose parameters are weight_ih, weight_hh, bias_ih, bias_hh (and weight_hr).

    Parameters
    ----------
    module : nn.Module
        The module that owns the parameters; they are read at each step, so the recurrence
        follows the module as it is now.
    suffix : str
        What follows the parameters' names: "" for a cell, "_l0" or "_l1_reverse" for a layer.
    """

    module: nn.Module
    gates: int

    def __init__(self, module: nn.Module, suffix: str = "") -> None:
        self.module = module
        self.suffix = suffix
        ih: Tensor = getattr(module, f"weight_ih{suffix}")
        self.hidden_size = ih.shape[0] // self.gates
        self.input_dim = ih.shape[1]
        self.layout = self._layout()

    def _layout(self) -> Layout:
        return Layout.of(h=self.hidden_size)

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        # in place: the closed forms below give memory of their own
        return add_diagonal(self.jacobian(state, x), -1.0)

    def bound_over(self, box: Tensor) -> Tensor | None:
        """Half-widths of a box that F maps into itself under every input |x| <= box.

        Parameters
        ----------
        box : Tensor
            (batch, input_dim), half-widths; a layer above another has that one's `h` as input.

        Returns
        -------
        Tensor or None
            (batch, state_dim).
        """
        return self.bound(box)  # where the bound holds whatever the input

    def parameter_names(self) -> list[str]:
        """Names, in the module, of the parameters this layer uses."""
        stems = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [f"{s}{self.suffix}" for s in stems if hasattr(self.module, f"{s}{self.suffix}")]

    def weights(self, like: Tensor, *, detach: bool = True) -> Weights:
        """Parameters in the dtype and on the device of `like`."""

        def get(stem: str) -> Tensor | None:
            p = getattr(self.module, f"{stem}{self.suffix}", None)
            if p is None:
                return None
            out: Tensor = (p.detach() if detach else p).to(like.device, like.dtype)
            return out

        ih, hh = get("weight_ih"), get("weight_hh")
        assert ih is not None
        assert hh is not None
        b_ih, b_hh = get("bias_ih"), get("bias_hh")
        zeros = ih.new_zeros(ih.shape[0])
        return Weights(
            ih,
            hh,
            zeros if b_ih is None else b_ih,
            zeros if b_hh is None else b_hh,
            get("weight_hr"),
        )


class RNNRecurrence(GatedRecurrence):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu."""

    gates = 1

    @property
    def nonlinearity(self) -> str:
        """Either ``"tanh"`` or ``"relu"``."""
        return str(self.module.nonlinearity)

    def _pre(self, state: Tensor, x: Tensor, w: Weights) -> Tensor:
        return x @ w.ih.T + w.b_ih + state @ w.hh.T + w.b_hh

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        a = self._pre(state, x, self.weights(state))
        return a.relu() if self.nonlinearity == "relu" else a.tanh()

    def _slope(self, state: Tensor, x: Tensor, w: Weights) -> Tensor:
        a = self._pre(state, x, w)
        return (a > 0).to(a.dtype) if self.nonlinearity == "relu" else 1 - a.tanh() ** 2

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        w = self.weights(state)
        return scaled_rows((self._slope(state, x, w), w.hh))

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        w = self.weights(state)
        return scaled_rows((self._slope(state, x, w), w.ih))

    def bound(self, x: Tensor) -> Tensor | None:
        if self.nonlinearity == "relu":
            return None
        return x.new_ones(x.shape[0], self.state_dim)


class GRURecurrence(GatedRecurrence):
    """h' = (1 - z) n + z h, with n = tanh(W_in x + b_in + r (W_hn h + b_hn))."""

    gates = 3

    def _gates(self, state: Tensor, x: Tensor, w: Weights) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reset r, update z, candidate n, and the hidden part of n's argument."""
        i_r, i_z, i_n = (x @ w.ih.T + w.b_ih).chunk(3, dim=-1)
        h_r, h_z, h_n = (state @ w.hh.T + w.b_hh).chunk(3, dim=-1)
        r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
        return r, z, torch.tanh(i_n + r * h_n), h_n

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        _, z, n, _ = self._gates(state, x, self.weights(state))
        return (1 - z) * n + z * state

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        w = self.weights(state)
        r, z, n, h_n = self._gates(state, x, w)
        w_r, w_z, w_n = w.hh.chunk(3)
        slope = (1 - z) * (1 - n**2)
        terms = ((slope * r, w_n), (slope * h_n * r * (1 - r), w_r))
        return add_diagonal(scaled_rows(*terms, ((state - n) * z * (1 - z), w_z)), z)

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        w = self.weights(state)
        r, z, n, h_n = self._gates(state, x, w)
        w_r, w_z, w_n = w.ih.chunk(3)
        slope = (1 - z) * (1 - n**2)
        terms = ((slope, w_n), (slope * h_n * r * (1 - r), w_r))
        return scaled_rows(*terms, ((state - n) * z * (1 - z), w_z))

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        """Return n(h) - h: F(h) - h = (1 - z)(n - h) is small wherever z is shut."""
        _, _, n, _ = self._gates(state, x, self.weights(state))
        return n - state

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        w = self.weights(state)
        r, _, n, h_n = self._gates(state, x, w)
        w_r, _, w_n = w.hh.chunk(3)
        slope = 1 - n**2
        return add_diagonal(scaled_rows((slope * r, w_n), (slope * h_n * r * (1 - r), w_r)), -1.0)

    def bound(self, x: Tensor) -> Tensor | None:
        return x.new_ones(x.shape[0], self.state_dim)


class LSTMRecurrence(GatedRecurrence):
    """The state is [h, c]: c' = f c + i g, h' = o tanh(c'), and W_hr h' with a projection."""

    gates = 4

    def _layout(self) -> Layout:
        hr: Tensor | None = getattr(self.module, f"weight_hr{self.suffix}", None)
        return Layout.of(h=self.hidden_size if hr is None else hr.shape[0], c=self.hidden_size)

    def _parts(self, state: Tensor) -> tuple[Tensor, Tensor]:
        return state[..., self.layout.slice("h")], state[..., self.layout.slice("c")]

    def _gates(self, h: Tensor, x: Tensor, w: Weights) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input i, forget f, candidate g, output o."""
        i, f, g, o = (x @ w.ih.T + w.b_ih + h @ w.hh.T + w.b_hh).chunk(4, dim=-1)
        return torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        w = self.weights(state)
        h, c = self._parts(state)
        i, f, g, o = self._gates(h, x, w)
        c = f * c + i * g
        h = o * torch.tanh(c)
        return torch.cat([h if w.hr is None else h @ w.hr.T, c], dim=-1)

    def _add_gates(
        self, out: Tensor, state: Tensor, x: Tensor, matrix: Tensor, w: Weights
    ) -> tuple[Tensor, Tensor]:
        """Add d[h', c']/d(.) through the gates to `out`; gives f, and dh'/dc' = o tanh'(c').

        Parameters
        ----------
        out : Tensor
            (batch, state_dim, m), zeros.
        matrix : Tensor
            (4 hidden, m), the gates' weights by h or by x.
        """
        h, c = self._parts(state)
        i, f, g, o = self._gates(h, x, w)
        m_i, m_f, m_g, m_o = matrix.chunk(4)
        t = torch.tanh(f * c + i * g)
        slope = o * (1 - t**2)
        dh, dc = out[:, self.layout.slice("h")], out[:, self.layout.slice("c")]
        terms = ((g * i * (1 - i), m_i), (c * f * (1 - f), m_f), (i * (1 - g**2), m_g))
        add_scaled_rows(dc, *terms)
        through = ((t * o * (1 - o), m_o), (slope, dc))
        if w.hr is None:
            add_scaled_rows(dh, *through)
        else:
            dh += w.hr @ scaled_rows(*through)
        return f.detach(), slope.detach()

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        w = self.weights(state)
        at_h, at_c = self.layout.slice("h"), self.layout.slice("c")
        out = state.new_zeros(state.shape[0], self.state_dim, self.state_dim)
        f, slope = self._add_gates(out[..., at_h], state, x, w.hh, w)
        add_diagonal(out[:, at_c, at_c], f)
        if w.hr is None:
            add_diagonal(out[:, at_h, at_c], slope * f)
        else:
            out[:, at_h, at_c] = w.hr * (slope * f).unsqueeze(-2)
        return out

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        w = self.weights(state)
        out = state.new_zeros(state.shape[0], self.state_dim, self.input_dim)
        self._add_gates(out, state, x, w.ih, w)
        return out

    def bound(self, x: Tensor) -> Tensor | None:
        """Bound |h| by 1 and |c| by 1 / (1 - max f), max f taken over |h| <= 1 at this input.

        With a projection h can leave the unit box, and no bound is claimed.
        """
        return self._bound(x, lambda w_f: x @ w_f.T)

    def bound_over(self, box: Tensor) -> Tensor | None:
        return self._bound(box, lambda w_f: box @ w_f.abs().T)

    def _bound(self, x: Tensor, drive: Callable[[Tensor], Tensor]) -> Tensor | None:
        """`drive` gives, from the forget gate's input weights, the most that the input adds."""
        w = self.weights(x)
        if w.hr is not None:
            return None
        f_ih, f_hh = w.ih.chunk(4)[1], w.hh.chunk(4)[1]
        bias = (w.b_ih + w.b_hh).chunk(4)[1]
        f_max = torch.sigmoid(drive(f_ih) + bias + f_hh.abs().sum(1))
        return torch.cat([torch.ones_like(f_max), 1 / (1 - f_max)], dim=-1)
