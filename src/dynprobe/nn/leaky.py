"""The leaky rate network of computational neuroscience, in discrete time."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.nn.loop import CellLoop, DrivenRecurrence, HiddenCell
from dynprobe.recurrences import register_recurrence
from dynprobe.recurrences.scaled_rows import add_diagonal, scaled_rows


class LeakyRNNCell(HiddenCell):
    """One Euler step of tau dh/dt = -h + tanh(W_ih x + W_hh h + b).

    h' = (1 - a) h + a tanh(W_ih x + W_hh h + b), with a = dt / tau.

    Parameters
    ----------
    input_size, hidden_size : int
        Widths of input and state.
    dt, tau : float
        Step and membrane time constant in one unit, 0 < dt <= tau. Attach with the same `dt` and
        its `unit` to have time constants reported in it.
    generator : torch.Generator, optional
        For the initial weights: normal with variance 1 / fan-in, bias zero.

    Raises
    ------
    ValueError
        If dt and tau are not 0 < dt <= tau: beyond it an Euler step overshoots.
    """

    n_gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 10.0,
        tau: float = 100.0,
        generator: torch.Generator | None = None,
    ) -> None:
        if not 0 < dt <= tau:
            raise ValueError(f"dt is {dt:g} and tau {tau:g}; an Euler step needs 0 < dt <= tau.")
        super().__init__(input_size, hidden_size, generator=generator)
        self.alpha = dt / tau

    def next(self, x: Tensor, h: Tensor) -> Tensor:
        """The next state."""
        drive = torch.tanh(x @ self.weight_ih.T + h @ self.weight_hh.T + self.bias)
        return (1 - self.alpha) * h + self.alpha * drive


class LeakyRNN(CellLoop):
    """A layer of leaky rate units: (batch, time, input) -> (batch, time, hidden), final h.

    Parameters are as for :class:`LeakyRNNCell`; a probe sees its ``cell``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 10.0,
        tau: float = 100.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(LeakyRNNCell(input_size, hidden_size, dt=dt, tau=tau, generator=generator))


@register_recurrence(LeakyRNNCell)
class LeakyRecurrence(DrivenRecurrence):
    """Map of the leaky rate network; its root form is tanh(...) - h, free of the leak."""

    module: LeakyRNNCell

    def _target(self, state: Tensor, x: Tensor) -> Tensor:
        """What the state leaks towards."""
        return torch.tanh(self.drive(state, x))

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        alpha = self.module.alpha
        slope = alpha * (1 - self._target(state, x) ** 2)
        return add_diagonal(scaled_rows((slope, self.weight("weight_hh", state))), 1 - alpha)

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        slope = self.module.alpha * (1 - self._target(state, x) ** 2)
        return scaled_rows((slope, self.weight("weight_ih", state)))

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        return self._target(state, x) - state

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        slope = 1 - self._target(state, x) ** 2
        return add_diagonal(scaled_rows((slope, self.weight("weight_hh", state))), -1.0)
