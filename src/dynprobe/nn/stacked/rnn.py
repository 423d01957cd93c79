"""Plain tanh units, several networks at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynprobe.nn.stacked.derivatives import through_tanh
from dynprobe.nn.stacked.unrolled import Unrolled


class RNN(Unrolled):
    """The equations of `torch.nn.RNN`: h' = tanh(x + W h + b)."""

    gates = 1

    @staticmethod
    def table(inputs: Tensor, biases: Sequence[Tensor]) -> Tensor:
        bias_ih, bias_hh = biases
        return inputs + (bias_ih + bias_hh)[:, None]

    def step(self, t: int, weight: Tensor) -> None:
        torch.tanh(self.drives[t].baddbmm_(self.hs[t], weight), out=self.hs[t + 1])

    def step_back(self, t: int, weight: Tensor, grads: list[Tensor]) -> None:
        # The state must stay: the gradient of W reads it as the next step's.
        through_tanh(grads[0], self.hs[t + 1], out=self.drives[t])
        torch.bmm(self.drives[t], weight, out=grads[0])
