"""What is done in a step of training, and to which parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Method:
    """What is done in a step.

    Attributes
    ----------
    optimizer
        Of the members' parameters; it must treat every entry by itself, as Adam does.
    rate
        Factor of the learning rate at a step, counted from 0.
    batch_size
        Fresh sequences of each member.
    clip
        Largest norm of a member's gradient, the penalty's included.
    penalty
        What is added to the losses, ``(members,)``, a function of the parameters, each
        ``(members, entries)``.
    """

    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]
    batch_size: int
    clip: float
    penalty: Callable[[Sequence[Tensor]], Tensor] | None = None


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
