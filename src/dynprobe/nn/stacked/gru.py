"""Gated recurrent units, several networks at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynprobe.nn.stacked.derivatives import through_sigmoid, through_tanh
from dynprobe.nn.stacked.unrolled import Unrolled


class GRU(Unrolled):
    """The equations and gate order of `torch.nn.GRU`.

    r = sigmoid(a_r), z = sigmoid(a_z), n = tanh(x_n + r * m), h' = n + z * (h - n), with
    m = W_n h + b_n. The drive is [a_r, a_z, m] and a buffer of its own holds x_n, then n.
    """

    gates = 3

    def __init__(self, models: int, steps: int, batch: int, hidden: int, like: Tensor) -> None:
        super().__init__(models, steps, batch, hidden, like)
        self.new = like.new_empty(models, steps, batch, hidden)
        self.driven = (self.drive, self.new)
        self.sigmoids = self.drive[..., : 2 * hidden].unbind(1)
        self.news = self.new.unbind(1)
        self.spare = [like.new_empty(models, batch, hidden) for _ in range(2)]

    @staticmethod
    def table(inputs: Tensor, biases: Sequence[Tensor]) -> Tensor:
        bias_ih, bias_hh = biases
        hidden = bias_hh.shape[1] // 3
        gates = inputs + bias_ih[:, None]
        outer = gates[..., : 2 * hidden] + bias_hh[:, None, : 2 * hidden]
        inner = bias_hh[:, None, 2 * hidden :].expand(-1, inputs.shape[1], -1)
        return torch.cat([outer, inner, gates[..., 2 * hidden :]], -1)

    def step(self, t: int, weight: Tensor) -> None:
        self.drives[t].baddbmm_(self.hs[t], weight)
        self.sigmoids[t].sigmoid_()
        n = self.news[t].addcmul_(self.gate[0][t], self.gate[2][t]).tanh_()
        torch.lerp(n, self.hs[t], self.gate[1][t], out=self.hs[t + 1])

    def step_back(self, t: int, weight: Tensor, grads: list[Tensor]) -> None:
        dh = grads[0]
        r, z, m = (block[t] for block in self.gate)
        n, (kept, spare) = self.news[t], self.spare
        torch.mul(dh, z, out=kept)
        to_n = dh.sub_(kept)
        # Not h' - n for z (h - n), which is cheaper: it cancels where z is small.
        torch.sub(self.hs[t], n, out=spare)
        z.mul_(spare.mul_(to_n))
        through_tanh(to_n, n, out=n)
        torch.mul(n, m, out=spare)
        torch.mul(n, r, out=m)
        through_sigmoid(spare, r, out=r)
        # The old gradient's memory is the next step's spare.
        grads[0], self.spare[0] = kept.baddbmm_(self.drives[t], weight), dh
