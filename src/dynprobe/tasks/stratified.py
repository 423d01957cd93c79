"""Cutting a labelled data set into parts that hold the classes in the same shares, or equal ones.

Where a row has several labels, each combination of labels that occurs is a class of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.tasks.balance import first_of_each


def stratified_parts(
    labels: Tensor, fractions: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut rows into a remainder and two parts, class by class, at random.

    Of each class a part gets its fraction, rounded down, but at least one row where the class
    has three or more; a class with fewer stays in the remainder whole. The remainder has at
    least one row of every class, at the cost of the larger part.

    Parameters
    ----------
    labels
        Class indices, int64, ``(rows,)``, or bool, ``(rows, labels)``.
    fractions
        Shares of the two parts; 0 leaves a part empty.
    generator
        Source of randomness.

    Returns
    -------
    tuple of Tensor
        Row indices, ascending, of the remainder and the two parts.
    """
    labels = _combinations(labels)
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for label in sorted(set(labels.tolist())):
        rows = (labels == label).nonzero().squeeze(1)
        rows = rows[torch.randperm(len(rows), generator=generator)]
        first, second = (
            max(1, int(len(rows) * fraction)) if fraction and len(rows) > 2 else 0
            for fraction in fractions
        )
        if first + second >= len(rows):
            least = len(rows) - 1
            first, second = (least - second, second) if first > second else (first, least - first)
        parts[1].append(rows[:first])
        parts[2].append(rows[first : first + second])
        parts[0].append(rows[first + second :])
    remainder, one, two = (torch.cat(part).sort().values for part in parts)
    return remainder, one, two


def equal_shares(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Choose rows at random so that every class has as many as the rarest one.

    Parameters
    ----------
    labels
        Class indices, int64, ``(rows,)``, or bool, ``(rows, labels)``; classes without rows do
        not count.
    generator
        Source of randomness.

    Returns
    -------
    Tensor
        Row indices, ascending, int64.
    """
    labels = _combinations(labels)
    if len(labels) == 0:
        return torch.arange(0)
    smallest = torch.unique(labels, return_counts=True)[1].min()
    order = torch.randperm(len(labels), generator=generator)
    wanted = smallest.expand(int(labels.max()) + 1)
    return order[first_of_each(labels[order], wanted)].sort().values


def _combinations(labels: Tensor) -> Tensor:
    """Number the combinations of labels that occur, int64, ``(rows,)``."""
    if labels.dim() == 1:
        return labels
    numbers: Tensor = torch.unique(labels, dim=0, return_inverse=True)[1]
    return numbers
