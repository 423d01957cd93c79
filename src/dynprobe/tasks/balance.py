"""Classes that occur equally often."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def balanced_labels(n: int, n_classes: int, generator: torch.Generator) -> Tensor:
    """Return labels whose class counts differ by at most one, in random order.

    Parameters
    ----------
    n, n_classes
        Number of labels and of classes.
    generator
        Source of randomness.

    Returns
    -------
    Tensor
        Int64, ``(n,)``.
    """
    # Which classes get one more where n is not a multiple of n_classes is random too.
    classes = torch.randperm(n_classes, generator=generator)
    labels = classes[torch.arange(n) % n_classes]
    return labels[torch.randperm(n, generator=generator)]


def first_of_each(labels: Tensor, wanted: Tensor) -> Tensor:
    """Return the rows that are among the first `wanted` of their class.

    Parameters
    ----------
    labels
        Class indices, int64, ``(rows,)``.
    wanted
        How many rows of each class to take at most, int64, ``(classes,)``.

    Returns
    -------
    Tensor
        Row indices, ascending, int64.
    """
    of_class = one_hot(labels, len(wanted))
    rank = of_class.cumsum(dim=0).gather(1, labels[:, None]).squeeze(1)
    return (rank <= wanted[labels]).nonzero().squeeze(1)
