"""The linear readout of a memory: the gradient of the logits by it, under a probe word.

Averaged over sequences it is what a linear classifier would be; how well it foresees the logits
says whether there is such a thing. Under a share of 0.9 there is no linear readout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Share of the variance of the logits from which on a linear readout is said to exist.
LINEAR = 0.9


@dataclass(frozen=True)
class MemoryReadout:
    """Gradient of the logits by a memory, averaged over sequences.

    Attributes
    ----------
    weight : Tensor
        (classes, dim), float64.
    share : float
        Of the variance of the logits over sequences, what ``weight @ memory`` explains with the
        best offset and no other freedom: 1 where the readout is linear, negative where it is worse
        than a constant.
    """

    weight: Tensor
    share: float

    @property
    def linear(self) -> bool:
        """Whether a linear readout exists."""
        return self.share >= LINEAR


def memory_readout(
    read: Callable[[Tensor], Tensor], memories: Tensor, *, margins: bool
) -> MemoryReadout:
    """Differentiate the logits by the memory of each sequence.

    Parameters
    ----------
    read : callable
        (sequences, dim) -> (sequences, classes), each row by itself.
    memories : Tensor
        (sequences, dim), the last of each sequence.
    margins : bool
        Whether one class is right, so that a shift of all logits means nothing: then only their
        differences from their mean are explained.
    """
    at = memories.detach().requires_grad_()
    with torch.enable_grad():
        logits = read(at)
        rows = [
            torch.autograd.grad(column.sum(), at, retain_graph=True)[0].double().mean(0)
            for column in logits.unbind(1)
        ]
    weight = torch.stack(rows)
    centred = memories.double() - memories.double().mean(0)
    return MemoryReadout(weight, linear_share(logits.detach(), centred @ weight.T, margins=margins))


def linear_share(logits: Tensor, predicted: Tensor, *, margins: bool) -> float:
    """Share of the variance of logits over sequences that a prediction explains, offset free."""
    y, z = (_varying(x, margins) for x in (logits, predicted))
    return float(1 - (y - z).square().sum() / y.square().sum())


def alignment(changes: Tensor, predicted: Tensor, *, margins: bool) -> float:
    """Cosine between changes of the logits and those foreseen, (points, classes) each.

    Of a deflection: the change of the memory by a word times its readout, against the change of
    the logits under the probe word.
    """
    y, z = (_margins(x.double(), margins) for x in (changes, predicted))
    return float((y * z).sum() / (y.norm() * z.norm()))


def _varying(x: Tensor, margins: bool) -> Tensor:
    x = _margins(x.double(), margins)
    return x - x.mean(0)


def _margins(x: Tensor, margins: bool) -> Tensor:
    return x - x.mean(1, keepdim=True) if margins and x.shape[1] > 1 else x
