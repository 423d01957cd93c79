"""Gated recurrent units that reset the state first, several networks at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynprobe.nn.stacked.derivatives import through_sigmoid, through_tanh
from dynprobe.nn.stacked.unrolled import Unrolled


class ResetFirstGRU(Unrolled):
    """The equations and gate order of `dynprobe.nn.ResetFirstGRU`.

    r = sigmoid(a_r), z = sigmoid(a_z), n = tanh(a_n), h' = n + z * (h - n). The drive is
    [a_r, a_z, a_n]; of a_n the part W_n (r * h) is added once r is known, a second product a step.
    """

    gates = 3

    def __init__(self, models: int, steps: int, batch: int, hidden: int, like: Tensor) -> None:
        super().__init__(models, steps, batch, hidden, like)
        self.sigmoids = self.drive[..., : 2 * hidden].unbind(1)
        self.reset = like.new_empty(models, steps, batch, hidden)
        self.resets = self.reset.unbind(1)
        self.spare = [like.new_empty(models, batch, hidden) for _ in range(2)]

    @staticmethod
    def table(inputs: Tensor, biases: Sequence[Tensor]) -> Tensor:
        return inputs + biases[0][:, None]

    def step(self, t: int, weight: Tensor) -> None:
        hidden = self.shape[3]
        self.sigmoids[t].baddbmm_(self.hs[t], weight[..., : 2 * hidden]).sigmoid_()
        torch.mul(self.gate[0][t], self.hs[t], out=self.resets[t])
        n = self.gate[2][t].baddbmm_(self.resets[t], weight[..., 2 * hidden :]).tanh_()
        torch.lerp(n, self.hs[t], self.gate[1][t], out=self.hs[t + 1])

    def step_back(self, t: int, weight: Tensor, grads: list[Tensor]) -> None:
        dh, hidden = grads[0], self.shape[3]
        r, z, n = (block[t] for block in self.gate)
        kept, spare = self.spare
        torch.mul(dh, z, out=kept)
        to_n = dh.sub_(kept)
        torch.sub(self.hs[t], n, out=spare)
        z.mul_(spare.mul_(to_n))
        through_tanh(to_n, n, out=n)
        torch.bmm(n, weight[:, 2 * hidden :], out=spare)
        kept.addcmul_(spare, r)
        through_sigmoid(spare.mul_(self.hs[t]), r, out=r)
        # The old gradient's memory is the next step's spare.
        grads[0], self.spare[0] = kept.baddbmm_(self.sigmoids[t], weight[:, : 2 * hidden]), dh

    def by_weight(self) -> Tensor:
        hidden = self.shape[3]
        of_gates, of_new = self.drive.flatten(1, 2).transpose(1, 2).split([2 * hidden, hidden], 1)
        by_gates = torch.bmm(of_gates, self.h[:, :-1].flatten(1, 2))
        return torch.cat([by_gates, torch.bmm(of_new, self.reset.flatten(1, 2))], 1)
