"""Method of moments: the mean distance against the largest."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dynprobe.dimension.local import LocalEstimator
from dynprobe.dimension.neighbors import NeighborGraph


class MOM(LocalEstimator):
    """Method of moments: d = m / (w - m), with m the mean distance to k neighbours, w the largest.

    As in Amsaleg et al. 2018 ("Extreme-value-theoretic estimation of local intrinsic
    dimensionality"): distances below w are distributed as r^d, whose mean is w d / (d + 1).

    Parameters
    ----------
    n_neighbors : int
        k; 100 as in scikit-dimension's ``MOM``.
    average, n_resamples, random_state
        As in :class:`dynprobe.dimension.local.LocalEstimator`, which also says what
        ``dimension_pw_``, ``dimension_interval_`` and ``n_undefined_`` are.

    Notes
    -----
    Large neighbourhoods make it steady and blind to curvature; too low near edges.
    """

    def __init__(
        self,
        n_neighbors: int = 100,
        *,
        average: str = "arithmetic",
        n_resamples: int = 200,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            n_neighbors, average=average, n_resamples=n_resamples, random_state=random_state
        )

    def _local(self, graph: NeighborGraph, distances: Tensor) -> Tensor:
        mean = distances.mean(1)
        local: Tensor = mean / (distances[:, -1] - mean)
        return local
