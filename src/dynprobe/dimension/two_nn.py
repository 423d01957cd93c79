"""Two nearest neighbours: the law of the ratio of their distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dynprobe.dimension.estimator import NeighborEstimator
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.resampling import Values, interval
from dynprobe.dimension.settings import whole, within
from dynprobe.errors import DegenerateDataError, ShapeError


class TwoNN(NeighborEstimator):
    """Two-nearest-neighbour estimator: mu = r2 / r1 has the distribution F(mu) = 1 - mu^-d.

    d is the slope of the line through the origin of -ln(1 - F(mu)) against ln mu, F the empirical
    distribution, without its largest ratios (the algorithm of Facco et al. 2017).

    Parameters
    ----------
    discard_fraction : float
        Share of the largest ratios left out of the fit; the very largest, where 1 - F = 0, always.
        0.1 as in scikit-dimension's ``TwoNN`` and the paper.
    n_resamples : int
        Bootstrap draws behind ``dimension_interval_``; 0 leaves it out.
    random_state : int, numpy Generator or None
        Of these draws.

    Attributes
    ----------
    dimension_ : float
        The slope.
    ratios_ : ndarray
        (distinct points,), mu in ascending order.
    dimension_interval_ : tuple of float
        95 % bootstrap interval over points' ratios. It says nothing of bias.
    n_duplicates_ : int
        Points that coincide with an earlier one; they are merged before the estimate.

    Notes
    -----
    Asks only that the density be constant over two neighbours, so it is little biased by edges and
    curvature; for the same reason it sees noise first.
    """

    def __init__(
        self, discard_fraction: float = 0.1, *, n_resamples: int = 200, random_state: Any = 0
    ) -> None:
        self.discard_fraction = discard_fraction
        self.n_resamples = n_resamples
        self.random_state = random_state

    def _neighbors(self) -> int:
        within("discard_fraction", self.discard_fraction, 0, 1)
        whole("n_resamples", self.n_resamples, 0)
        return 2

    def _estimate(self, graph: NeighborGraph, distances: Tensor) -> None:
        ratios: Values = np.sort((distances[:, 1] / distances[:, 0]).cpu().numpy())
        n = len(ratios)
        kept = min(int(n * (1 - self.discard_fraction)), n - 1)
        logs = np.log(ratios)
        if kept < 2:
            raise ShapeError(
                f"TwoNN has {kept} of {n} ratios left to fit (n_samples={len(graph.points)}, "
                f"n_features={graph.points.shape[1]}): give more points or discard fewer."
            )
        if logs[kept - 1] == 0:
            raise DegenerateDataError(
                "The two nearest neighbours of nearly every point are equally far, as on a grid: "
                "their ratio says nothing. Use an estimator of more neighbours."
            )
        heights = -np.log1p(-np.arange(1, kept + 1) / n)

        def slope(drawn: Any) -> float:
            x = np.repeat(logs, drawn)[:kept]
            return float(x @ heights / (x @ x))

        self.ratios_ = ratios
        self.dimension_ = slope(1)
        self.dimension_interval_ = interval(slope, n, self.n_resamples, self.random_state)
