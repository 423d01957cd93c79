"""Bootstrap intervals of what is a function of values, one for each point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def interval(
    statistic: Callable[[NDArray[np.int64]], float], points: int, resamples: int, random_state: Any
) -> tuple[float, float]:
    """95 % percentile interval of `statistic` over points drawn with replacement.

    Parameters
    ----------
    statistic : callable
        Takes how often each point was drawn, (points,), and returns the estimate.
    points : int
        Number of points.
    resamples : int
        Number of draws; 0 gives (nan, nan).
    random_state : int, numpy Generator or None
        None draws afresh each time, without touching NumPy's global state.

    Notes
    -----
    The percentile interval of Efron & Tibshirani 1993.
    """
    if resamples == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(random_state)
    found = [
        statistic(np.bincount(rng.integers(0, points, points), minlength=points))
        for _ in range(resamples)
    ]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
