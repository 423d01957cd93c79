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

    def gather(self, batches: Sequence[Batch]) -> Batch:
        """The batches of all members as one, as :meth:`losses` takes it.

        Of a stack every tensor of it has the member first.
        """
        ...

    def losses(self, batch: Batch) -> Tensor:
        """Mean loss of each member on its sequences, ``(members,)``."""
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

    def gather(self, batches: Sequence[Batch]) -> Batch:
        (batch,) = batches
        return batch

    def losses(self, batch: Batch) -> Tensor:
        return losses(self.module(batch.tokens, batch.lengths), batch.labels).mean()[None]

    def rows(self, tensor: Tensor) -> Tensor:
        return tensor.reshape(1, -1)

    def along(self, factors: Tensor, tensor: Tensor) -> Tensor:
        return factors[0]


class StackedModels:
    """A stack: its parameters have the member first, and so has what it is given."""

    def __init__(self, stack: Stack) -> None:
        self.module = stack

    def __len__(self) -> int:
        return len(self.module)

    def gather(self, batches: Sequence[Batch]) -> Batch:
        steps = max(batch.tokens.shape[1] for batch in batches)
        return Batch(
            torch.stack([pad(b.tokens, (0, steps - b.tokens.shape[1])) for b in batches]),
            torch.stack([batch.lengths for batch in batches]),
            torch.stack([batch.labels for batch in batches]),
        )

    def losses(self, batch: Batch) -> Tensor:
        return self._losses(self.module(batch.tokens, batch.lengths), batch.labels)

    def check(self, batch: Batch) -> bool:
        """Whether it has no padding; ValueError for a batch that :meth:`losses` would refuse."""
        return self.module.check(batch.tokens, batch.lengths)

    def losses_of_whole(self, batch: Batch) -> Tensor:
        """As :meth:`losses`, of checked sequences without padding; asks the device nothing."""
        return self._losses(self.module.classify(batch.tokens), batch.labels)

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = losses(logits.flatten(0, 1), labels.flatten(0, 1))
        return each.view(len(self), -1).mean(1)

    def rows(self, tensor: Tensor) -> Tensor:
        return tensor.flatten(1)

    def along(self, factors: Tensor, tensor: Tensor) -> Tensor:
        return factors.view(-1, *[1] * (tensor.dim() - 1))
