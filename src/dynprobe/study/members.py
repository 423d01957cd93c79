"""One model or a stack of several, as training sees them: so many losses, so many norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from dynprobe.nn.stacked import Stack
from dynprobe.tasks.batch import Batch
from dynprobe.tasks.scoring import losses


class Members(Protocol):
    """Models that are trained in step, each on its own sequences.

    Attributes
    ----------
    module : nn.Module
        Holds the parameters of all.
    """

    @property
    def module(self) -> nn.Module: ...

    def __len__(self) -> int: ...

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        """Mean loss of each member on its batch, ``(members,)``."""
        ...

    def rows(self, tensor: Tensor) -> Tensor:
        """A parameter or its gradient as ``(members, entries)``."""
        ...

    def along(self, factors: Tensor, tensor: Tensor) -> Tensor:
        """One factor for each member, in a shape that multiplies a parameter."""
        ...


class OneModel:
    """A model by itself."""

    def __init__(self, model: nn.Module) -> None:
        self.module = model

    def __len__(self) -> int:
        return 1

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        (batch,) = batches
        return losses(self.module(batch.tokens, batch.lengths), batch.labels).mean()[None]

    def rows(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(1, -1)

    def along(self, factors: Tensor, tensor: Tensor) -> Tensor:
        return factors[0]


class StackedModels:
    """A stack: its parameters have the member first."""

    def __init__(self, stack: Stack) -> None:
        self.module = stack

    def __len__(self) -> int:
        return len(self.module)

    def losses(self, batches: Sequence[Batch]) -> Tensor:
        steps = max(batch.tokens.shape[1] for batch in batches)
        tokens = torch.stack([pad(b.tokens, (0, steps - b.tokens.shape[1])) for b in batches])
        logits = self.module(tokens, torch.stack([batch.lengths for batch in batches]))
        labels = torch.cat([batch.labels for batch in batches])
        return losses(logits.flatten(0, 1), labels).view(len(batches), -1).mean(1)

    def rows(self, tensor: Tensor) -> Tensor:
        return tensor.flatten(1)

    def along(self, factors: Tensor, tensor: Tensor) -> Tensor:
        return factors.view(-1, *[1] * (tensor.dim() - 1))
