"""How far a participation ratio would move had other sequences been seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dynprobe.dimension.resampling import Values, interval

#: with fewer groups the draws are too alike to say anything
FEWEST = 10


def participation_ratio_spread(
    points: Tensor, groups: Tensor, *, n_resamples: int = 200, random_state: Any = 0
) -> float | None:
    """Half the width of a 95 % bootstrap interval of the participation ratio of `points`.

    Whole groups are drawn with replacement: the states of one sequence follow each other, and a
    bootstrap of single states would take them for independent.

    Parameters
    ----------
    points : Tensor
        (points, features).
    groups : Tensor
        (points,), whole numbers, equal for points that belong together.
    n_resamples : int
        Number of draws.
    random_state : int, numpy Generator or None
        Of these draws.

    Returns
    -------
    float or None
        None with fewer than 10 groups, or where the points of some draw all coincide.

    Notes
    -----
    The width alone: a draw repeats points, so that its participation ratio is too low on average,
    and the interval's middle with it. All draws are read off the Gram matrix, as
    tr C^2 = sum_ij w_i w_j (x_i . x_j)^2 for points of weights w about the origin.
    """
    x: Values = points.double().cpu().numpy()
    numbers, group = np.unique(groups.cpu().numpy(), return_inverse=True)
    if len(numbers) < FEWEST:
        return None
    x = x - x.mean(0)
    size = float(np.sqrt(np.square(x).sum(1).mean()))
    if size == 0:
        return None
    gram: Values = (x / size) @ (x / size).T
    squares = np.square(gram)
    norms = gram.diagonal()

    def ratio(drawn: Any) -> float:
        w = drawn[group] / drawn[group].sum()
        on_mean = gram @ w
        length = w @ on_mean
        trace = w @ norms - length
        if trace < 1e-12:  # of 1: nothing but rounding
            return float("nan")
        return float(trace**2 / (w @ squares @ w - 2 * w @ np.square(on_mean) + length**2))

    low, high = interval(ratio, len(numbers), n_resamples, random_state)
    return None if np.isnan(high - low) else (high - low) / 2
