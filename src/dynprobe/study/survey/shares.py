"""How much of the variance of states something explains, adjusted for how much it would by chance.

The share is 1 - (S_left / (n - 1 - k)) / (S_all / (n - 1)), with S the sums of squares over all
coordinates and k the numbers that were fitted to each: zero on average for what has nothing to do
with the states, however many words there are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: A direction among regressors below this share of the largest is rounding of single precision.
RANK = 1e-6


def explained(states: Tensor, regressors: Tensor) -> float:
    """Share of the variance that a linear regression explains.

    Parameters
    ----------
    states : Tensor
        (points, dim).
    regressors : Tensor
        (points, k); a constant is among them anyway.

    Returns
    -------
    float
        At most 1; NaN where the states do not vary, or there are too few.
    """
    centred = states.double() - states.double().mean(0)
    given = regressors.double() - regressors.double().mean(0)
    left, sizes, _ = torch.linalg.svd(given, full_matrices=False)
    basis = left[:, sizes > RANK * sizes.max().clamp(min=1e-300)]
    return _adjusted(
        float((basis.T @ centred).square().sum()),
        float(centred.square().sum()),
        len(states),
        basis.shape[1],
    )


def between(states: Tensor, groups: Tensor) -> float:
    """Share of the variance that lies between groups of points, such as those of one word.

    Parameters
    ----------
    states : Tensor
        (points, dim).
    groups : Tensor
        (points,), int64, any numbers.

    Returns
    -------
    float
        At most 1; NaN where the states do not vary, or no group has two points.
    """
    centred = states.double() - states.double().mean(0)
    _, index, counts = groups.unique(return_inverse=True, return_counts=True)
    sums = centred.new_zeros(len(counts), centred.shape[1]).index_add_(0, index, centred)
    of_groups = float((sums.square().sum(1) / counts).sum())
    return _adjusted(of_groups, float(centred.square().sum()), len(states), len(counts) - 1)


def _adjusted(of_fit: float, of_all: float, points: int, fitted: int) -> float:
    freedom = points - 1 - fitted
    if of_all == 0 or freedom <= 0:
        return math.nan
    return 1 - (of_all - of_fit) / of_all * (points - 1) / freedom
