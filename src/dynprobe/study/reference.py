"""The numbers of the reference recipe, for one model and for a stack of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from dynprobe.study.method import Method, trained_parameters
from dynprobe.study.penalty import penalty_of


@dataclass(frozen=True)
class Reference:
    """The recipe of Aitken et al. 2020 (arXiv 2010.15114); :func:`dynprobe.study.train.train`.

    Attributes
    ----------
    learning_rate, decay
        The learning rate is ``learning_rate * decay ** step``.
    l2
        Of each member: ``l2 * sum(theta ** 2)`` over its parameters is added to its loss.
    clip
        Largest norm of a member's gradient, the penalty's included.
    cooldown
        Over so many last steps the learning rate also falls linearly to zero.
    penalised
        Which parameters `l2` applies to, :func:`dynprobe.study.penalty.penalised_parameters`; the
        recipe has all.
    """

    learning_rate: float
    decay: float
    l2: tuple[float, ...]
    clip: float
    cooldown: int
    penalised: str = "all"

    def method(self, model: nn.Module, batch_size: int, end: Callable[[], int]) -> Method:
        """The recipe for `model`, whose training is to end at step `end`, asked at every step."""
        parameters = trained_parameters(model)
        penalty = penalty_of(model, self.l2, self.penalised)

        def rate(step: int) -> float:
            return self.decay**step * min(1.0, (end() - step) / max(self.cooldown, 1))

        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate, betas=(0.9, 0.99), eps=0.1)
        return Method(optimizer, rate, batch_size, self.clip, penalty)


def check_cooldown(cooldown: int, steps: int) -> None:
    """Raise ValueError where a cooldown does not fit into the steps."""
    if not 0 <= cooldown <= max(steps, 0):
        raise ValueError(f"cooldown is {cooldown}. Pass 0 to {steps}, the number of steps.")
