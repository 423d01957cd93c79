"""Correlation dimension: how the number of close pairs grows with the radius."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from dynprobe.dimension.estimator import NeighborEstimator
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.pair_counts import counts_within
from dynprobe.dimension.resampling import interval
from dynprobe.dimension.settings import whole
from dynprobe.errors import DegenerateDataError, ParameterError


class CorrelationDimension(NeighborEstimator):
    """Correlation dimension between two radii.

    d = ln(C(r2) / C(r1)) / ln(r2 / r1) with C(r) the share of pairs nearer than r (Grassberger &
    Procaccia 1983). The radii are the medians, over the points, of the distance to the
    k1-th and to the k2-th neighbour, as in scikit-dimension's ``CorrInt``.

    Parameters
    ----------
    k1, k2 : int
        1 <= k1 < k2.
    n_resamples : int
        Bootstrap draws behind ``dimension_interval_``; 0 leaves it out.
    random_state : int, numpy Generator or None
        Of these draws.

    Attributes
    ----------
    dimension_ : float
        The slope.
    radii_ : tuple of float
        r1 and r2.
    dimension_interval_ : tuple of float
        95 % bootstrap interval over points' numbers of neighbours within r1 and r2, both radii
        held. It says nothing of bias.
    n_duplicates_ : int
        Points that coincide with an earlier one; they are merged before the estimate.

    Notes
    -----
    Pairs in dense places count most: on states that linger at corners it describes the corners.
    """

    def __init__(
        self, k1: int = 10, k2: int = 20, *, n_resamples: int = 200, random_state: Any = 0
    ) -> None:
        self.k1 = k1
        self.k2 = k2
        self.n_resamples = n_resamples
        self.random_state = random_state

    def _neighbors(self) -> int:
        whole("n_resamples", self.n_resamples, 0)
        if whole("k2", self.k2, 2) <= whole("k1", self.k1, 1):
            raise ParameterError(f"k1 is {self.k1} and k2 is {self.k2}; give k1 < k2.")
        return self.k2

    def _estimate(self, graph: NeighborGraph, distances: Tensor) -> None:
        # NumPy's median: the mean of the middle two
        radii = np.median(distances[:, [self.k1 - 1, self.k2 - 1]].cpu().numpy(), axis=0)
        near, far = counts_within(graph, radii.tolist()).cpu().numpy()
        if radii[0] == radii[1] or near.sum() == 0:
            raise DegenerateDataError(
                f"Half of the points have their neighbours {self.k1} to {self.k2} at one distance, "
                f"{radii[0]:.3g}: pairs cannot be counted between two radii. Set k1 and k2 further "
                "apart."
            )
        span = float(np.log(radii[1] / radii[0]))

        def slope(drawn: Any) -> float:
            return float(np.log((drawn @ far) / (drawn @ near)) / span)

        self.radii_ = (float(radii[0]), float(radii[1]))
        self.dimension_ = slope(np.ones(len(near)))
        self.dimension_interval_ = interval(slope, len(near), self.n_resamples, self.random_state)
