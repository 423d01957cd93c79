"""A gated linear recurrence: affine in the state, with gates that the input sets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynprobe.dynamics.affine import DiagonalMap
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.layout import Layout


class SelectiveRecurrence(Recurrence):
    """s' = a(x) s + (1 - a(x)) v(x), with a(x) = sigmoid(W_a x + b_a) and v(x) = W_v x.

    The known answer for a held input is in closed form, and :meth:`affine` gives it:

    * ``affine(x).fixed_point()`` is v(x), (batch, n), its only fixed point, an attractor;
    * ``affine(x).eigenvalues()`` is a(x), (batch, n), its spectrum, inside (0, 1).

    Parameters
    ----------
    gate, value : nn.Linear
        W_a with b_a, and W_v.
    """

    def __init__(self, gate: nn.Linear, value: nn.Linear) -> None:
        self.module = nn.ModuleDict({"gate": gate, "value": value})
        self.layout = Layout.of(s=gate.out_features)
        self.input_dim = gate.in_features

    def affine(self, x: Tensor) -> DiagonalMap:
        p = self.parameters_like(x)
        decay = (x @ p["gate.weight"].T + p["gate.bias"]).sigmoid()
        return DiagonalMap(decay, (1 - decay) * (x @ p["value.weight"].T))

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        return self.affine(x).apply(state)


def gated_linear(units: int = 6, inputs: int = 3, *, seed: int = 0) -> SelectiveRecurrence:
    """A selective recurrence of random weights in float64; its answer is ``.affine(x)``."""
    generator = torch.Generator().manual_seed(seed)
    # by way of the meta device: an initialisation would draw from the global random state
    gate, value = (
        nn.Linear(inputs, units, bias=bias, dtype=torch.float64, device="meta").to_empty(
            device="cpu"
        )
        for bias in (True, False)
    )
    with torch.no_grad():
        for p in (*gate.parameters(), *value.parameters()):
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return SelectiveRecurrence(gate, value)
