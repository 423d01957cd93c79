"""The leaky rate network of computational neuroscience, in discrete time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynprobe.nn.loop import CellLoop
from dynprobe.recurrences import Layout, Recurrence, register_recurrence


class LeakyRNNCell(nn.Module):
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

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        dt: float = 10.0,
        tau: float = 100.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not 0 < dt <= tau:
            raise ValueError(f"dt is {dt:g} and tau {tau:g}; an Euler step needs 0 < dt <= tau.")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.alpha = dt / tau
        self.weight_ih = nn.Parameter(
            torch.randn(hidden_size, input_size, generator=generator) / input_size**0.5
        )
        self.weight_hh = nn.Parameter(
            torch.randn(hidden_size, hidden_size, generator=generator) / hidden_size**0.5
        )
        self.bias = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """(batch, input), (batch, hidden) or None for zeros -> (batch, hidden)."""
        if h is None:
            h = x.new_zeros(*x.shape[:-1], self.hidden_size)
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
class LeakyRecurrence(Recurrence):
    """Map of the leaky rate network; its root form is tanh(...) - h, free of the leak."""

    module: LeakyRNNCell

    def __init__(self, module: LeakyRNNCell) -> None:
        self.module = module
        self.layout = Layout.of(h=module.hidden_size)
        self.input_dim = module.input_size

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        out = self.call(x, state)
        assert isinstance(out, Tensor)
        return out

    def _drive(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        w = {k: v.detach() for k, v in self.parameters_like(state).items()}
        drive = torch.tanh(x @ w["weight_ih"].T + state @ w["weight_hh"].T + w["bias"])
        return drive, (1 - drive**2).unsqueeze(-1) * w["weight_hh"]

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        _, slope = self._drive(state, x)
        eye = torch.eye(self.state_dim, dtype=state.dtype, device=state.device)
        return (1 - self.module.alpha) * eye + self.module.alpha * slope

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        return self._drive(state, x)[0] - state

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        _, slope = self._drive(state, x)
        return slope - torch.eye(self.state_dim, dtype=state.dtype, device=state.device)

    def bound(self, x: Tensor) -> Tensor | None:
        return x.new_ones(x.shape[0], self.state_dim)
