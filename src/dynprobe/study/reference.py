"""The numbers of the reference recipe, for one model and for a stack of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynprobe.study.penalty import l2_penalties
from dynprobe.study.steps import Method, trained_parameters


@dataclass(frozen=True)
class Reference:
    """The recipe of Aitken et al. 2020 (arXiv 2010.15114); :func:`dynprobe.study.train.train`.

    Attributes
    ----------
    learning_rate, decay
        The learning rate is ``learning_rate * decay ** step``.
    l2
        Of each member: ``l2 * sum(theta ** 2)`` over all its parameters is added to its loss.
    clip
        Largest norm of a member's gradient, the penalty's included.
    cooldown
        Over so many last steps the learning rate also falls linearly to zero.
    """

    learning_rate: float
    decay: float
    l2: tuple[float, ...]
    clip: float
    cooldown: int

    def method(self, model: nn.Module, batch_size: int, end: Callable[[], int]) -> Method:
        """The recipe for `model`, whose training is to end at step `end`, asked at every step."""
        parameters = trained_parameters(model)

        def rate(step: int) -> float:
            return self.decay**step * min(1.0, (end() - step) / max(self.cooldown, 1))

        def penalty(rows: Sequence[Tensor]) -> Tensor:
            l2 = torch.tensor(self.l2, dtype=rows[0].dtype, device=rows[0].device)
            return l2 * l2_penalties(rows)

        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate, betas=(0.9, 0.99), eps=0.1)
        return Method(optimizer, rate, batch_size, self.clip, penalty)


def check_cooldown(cooldown: int, steps: int) -> None:
    """Raise ValueError where a cooldown does not fit into the steps."""
    if not 0 <= cooldown <= max(steps, 0):
        raise ValueError(f"cooldown is {cooldown}. Pass 0 to {steps}, the number of steps.")
