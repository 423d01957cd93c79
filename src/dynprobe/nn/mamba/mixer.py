"""The layer of Mamba-1: a short convolution, then a scan whose gates its input selects."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu, softplus

from dynprobe.nn.mamba.initialisation import mixer_weights
from dynprobe.nn.mamba.scan import selective_scan

#: Of the norms, as in transformers.
NORM_EPS = 1e-5


class MambaMixer(nn.Module):
    """A selective state space (Gu & Dao 2023, arXiv 2312.00752, section 3.4).

    x, z = W_in u; x = silu(conv(x)); dt, B, C = W_x x; dt = softplus(W_dt dt + b_dt);
    y = scan(x, dt, -exp(A_log), B, C, D); out = W_out (y * silu(z)).

    Names and shapes of the parameters are those of MambaMixer in Hugging Face transformers:
    `in_proj`, `conv1d`, `x_proj`, `dt_proj`, `A_log`, `D`, `out_proj`.

    Parameters
    ----------
    hidden_size : int
        Width of what comes in and goes out.
    state_size : int
        N, numbers of the state for each inner channel.
    conv_kernel : int
        Steps that the convolution sees, the present one included.
    expand : int
        Inner channels are `expand` times as many as `hidden_size`.
    generator : torch.Generator, optional
        Of the initial weights, see :func:`~dynprobe.nn.mamba.initialisation.mixer_weights`; None is
        a fresh generator seeded with 0. The global random state is left alone.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        state_size: int = 16,
        conv_kernel: int = 4,
        expand: int = 2,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("hidden_size", hidden_size),
            ("state_size", state_size),
            ("conv_kernel", conv_kernel),
            ("expand", expand),
        ):
            if value < 1:
                raise ValueError(f"{name} is {value}. Pass at least 1.")
        inner, rank = expand * hidden_size, ceil(hidden_size / 16)
        self.state_size, self.rank, self.conv_kernel = state_size, rank, conv_kernel
        # torch's layers draw their first weights, replaced below, from the global random state.
        with torch.random.fork_rng(devices=[]):
            self.in_proj = nn.Linear(hidden_size, 2 * inner, bias=False)
            self.conv1d = nn.Conv1d(
                inner, inner, conv_kernel, groups=inner, padding=conv_kernel - 1
            )
            self.x_proj = nn.Linear(inner, rank + 2 * state_size, bias=False)
            self.dt_proj = nn.Linear(rank, inner)
            self.out_proj = nn.Linear(inner, hidden_size, bias=False)
        self.A_log = nn.Parameter(torch.empty(inner, state_size))
        self.D = nn.Parameter(torch.empty(inner))
        mixer_weights(self, generator or torch.Generator().manual_seed(0))

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, time, hidden) -> (batch, time, hidden); the state is zero at the start."""
        x, gate = self.in_proj(hidden).chunk(2, dim=-1)
        x = silu(self._convolved(x))
        dt, b, c = self.x_proj(x).split([self.rank, self.state_size, self.state_size], dim=-1)
        dt = softplus(self.dt_proj(dt))
        y = selective_scan(x, dt, -self.A_log.exp(), b, c, self.D)
        out: Tensor = self.out_proj(y * silu(gate))
        return out

    def step(self, window: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step from any state, (batch, inner, N).

        Parameters
        ----------
        window
            ``(batch, conv_kernel, hidden)``, what the convolution sees, the present step last.
        state
            Before the step; gradients flow through it.

        Returns
        -------
        Tensor, Tensor
            ``(batch, hidden)``, what :meth:`forward` gives at this step, and the state after it.
        """
        x, gate = self.in_proj(window).chunk(2, dim=-1)
        x, gate = silu(self._convolved(x)[:, -1]), gate[:, -1]
        dt, b, c = self.x_proj(x).split([self.rank, self.state_size, self.state_size], dim=-1)
        dt = softplus(self.dt_proj(dt))
        kept = (dt[..., None] * -self.A_log.exp()).exp() * state
        state = kept + (dt * x)[..., None] * b[:, None]
        y = (state * c[:, None]).sum(-1) + self.D * x
        out: Tensor = self.out_proj(y * silu(gate))
        return out, state

    def _convolved(self, x: Tensor) -> Tensor:
        """The causal convolution as a sum of shifted copies: nn.Conv1d would want time last."""
        steps = x.shape[1]
        x = pad(x, (0, 0, self.conv_kernel - 1, 0))
        out = self.conv1d.bias
        assert out is not None
        for j, weight in enumerate(self.conv1d.weight[:, 0].unbind(-1)):
            out = torch.addcmul(out, x[:, j : j + steps], weight)
        return out


class MambaBlock(nn.Module):
    """x + mixer(norm(x)), with dropout of what the mixer adds.

    Parameters are those of :class:`MambaMixer` and `dropout`, a probability.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        state_size: int = 16,
        conv_kernel: int = 4,
        expand: int = 2,
        dropout: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden_size, eps=NORM_EPS)
        self.mixer = MambaMixer(
            hidden_size,
            state_size=state_size,
            conv_kernel=conv_kernel,
            expand=expand,
            generator=generator,
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, time, hidden) -> (batch, time, hidden)."""
        out: Tensor = hidden + self.dropout(self.mixer(self.norm(hidden)))
        return out
