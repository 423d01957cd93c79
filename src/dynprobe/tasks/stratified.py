"""Cutting a labelled data set into parts that hold the classes in the same shares."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified_parts(
    labels: Tensor, fractions: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut rows into a remainder and two parts, class by class, at random.

    Of each class a part gets its fraction, rounded down, but at least one row where the class
    has three or more; a class with fewer stays in the remainder whole.

    Parameters
    ----------
    labels
        Class indices, int64, ``(rows,)``.
    fractions
        Shares of the two parts; 0 leaves a part empty.
    generator
        Source of randomness.

    Returns
    -------
    tuple of Tensor
        Row indices, ascending, of the remainder and the two parts.
    """
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for label in sorted(set(labels.tolist())):
        rows = (labels == label).nonzero().squeeze(1)
        rows = rows[torch.randperm(len(rows), generator=generator)]
        first, second = (
            max(1, int(len(rows) * fraction)) if fraction and len(rows) > 2 else 0
            for fraction in fractions
        )
        parts[1].append(rows[:first])
        parts[2].append(rows[first : first + second])
        parts[0].append(rows[first + second :])
    remainder, one, two = (torch.cat(part).sort().values for part in parts)
    return remainder, one, two
