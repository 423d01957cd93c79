"""Long short-term memory, several networks at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynprobe.nn.stacked.derivatives import through_sigmoid, through_tanh
from dynprobe.nn.stacked.unrolled import Unrolled


class LSTM(Unrolled):
    """The equations and gate order of `torch.nn.LSTM`.

    i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), g = tanh(a_g), c' = f * c + i * g,
    h' = o * tanh(c'). The drive is [a_i, a_f, a_g, a_o].
    """

    gates = 4

    def __init__(self, models: int, steps: int, batch: int, hidden: int, like: Tensor) -> None:
        super().__init__(models, steps, batch, hidden, like)
        self.c = like.new_empty(models, steps + 1, batch, hidden)
        self.bent = like.new_empty(models, steps, batch, hidden)
        self.cs, self.bents = self.c.unbind(1), self.bent.unbind(1)
        self.sigmoids = self.drive[..., : 2 * hidden].unbind(1)
        self.spare = [like.new_empty(models, batch, hidden) for _ in range(2)]

    @property
    def states(self) -> tuple[Tensor, ...]:
        return (self.h, self.c)

    @staticmethod
    def table(inputs: Tensor, biases: Sequence[Tensor]) -> Tensor:
        bias_ih, bias_hh = biases
        return inputs + (bias_ih + bias_hh)[:, None]

    def step(self, t: int, weight: Tensor) -> None:
        self.drives[t].baddbmm_(self.hs[t], weight)
        self.sigmoids[t].sigmoid_()
        i, f, g, o = (block[t] for block in self.gate)
        torch.mul(f, self.cs[t], out=self.cs[t + 1])
        self.cs[t + 1].addcmul_(i, g.tanh_())
        torch.tanh(self.cs[t + 1], out=self.bents[t])
        torch.mul(o.sigmoid_(), self.bents[t], out=self.hs[t + 1])

    def step_back(self, t: int, weight: Tensor, grads: list[Tensor]) -> None:
        dh, dc = grads
        i, f, g, o = (block[t] for block in self.gate)
        bent, (one, two) = self.bents[t], self.spare
        torch.mul(dh, bent, out=one)
        dh.mul_(o)
        through_sigmoid(one, o, out=o)
        through_tanh(dh, bent, out=dh)
        dc.add_(dh)
        torch.mul(dc, g, out=one)
        torch.mul(dc, i, out=two)
        through_sigmoid(one, i, out=i)
        through_tanh(two, g, out=g)
        torch.mul(dc, self.cs[t], out=one)
        dc.mul_(f)
        through_sigmoid(one, f, out=f)
        torch.bmm(self.drives[t], weight, out=dh)
