"""The class with most evidence, and whether it has most evidence alone."""

from __future__ import annotations

from torch import Tensor

# Scores are sums of at most a few hundred numbers of size 1 in float64: rounding stays far below.
_ROUNDING = 1e-9


def winners(scores: Tensor) -> Tensor:
    """Return the class of the largest score, int64, ``(sequences,)``."""
    return scores.argmax(dim=1)


def no_single_winner(scores: Tensor) -> Tensor:
    """Whether the two largest of the scores ``(sequences, classes)`` are equal up to rounding.

    Returns
    -------
    Tensor
        Bool, ``(sequences,)``.
    """
    best = scores.topk(2, dim=1).values
    return best[:, 0] - best[:, 1] <= _ROUNDING
