"""Update-gate units, several networks at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynprobe.nn.stacked.derivatives import through_sigmoid, through_tanh
from dynprobe.nn.stacked.unrolled import Unrolled


class UGRNN(Unrolled):
    """The equations and gate order of `dynprobe.nn.UGRNN`.

    u = sigmoid(a_u), c = tanh(a_c), h' = c + u * (h - c). The drive is [a_u, a_c].
    """

    gates = 2

    def __init__(self, models: int, steps: int, batch: int, hidden: int, like: Tensor) -> None:
        super().__init__(models, steps, batch, hidden, like)
        self.spare = [like.new_empty(models, batch, hidden) for _ in range(2)]

    @staticmethod
    def table(inputs: Tensor, biases: Sequence[Tensor]) -> Tensor:
        return inputs + biases[0][:, None]

    def step(self, t: int, weight: Tensor) -> None:
        self.drives[t].baddbmm_(self.hs[t], weight)
        u, c = self.gate[0][t].sigmoid_(), self.gate[1][t].tanh_()
        torch.lerp(c, self.hs[t], u, out=self.hs[t + 1])

    def step_back(self, t: int, weight: Tensor, grads: list[Tensor]) -> None:
        dh = grads[0]
        u, c = (block[t] for block in self.gate)
        kept, spare = self.spare
        torch.mul(dh, u, out=kept)
        torch.sub(self.hs[t], c, out=spare)
        torch.mul(dh, spare, out=spare)
        through_sigmoid(spare, u, out=u)
        through_tanh(dh.sub_(kept), c, out=c)
        # The old gradient's memory is the next step's spare.
        grads[0], self.spare[0] = kept.baddbmm_(self.drives[t], weight), dh
