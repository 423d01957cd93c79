"""Principal components of neighbourhoods."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynprobe.dimension.distances import CACHED
from dynprobe.dimension.local import LocalEstimator
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.settings import one_of, within

CRITERIA = ("threshold", "participation_ratio")


class LocalPCA(LocalEstimator):
    """Linear dimension of the k neighbours of each point: a curved manifold is locally flat.

    Parameters
    ----------
    n_neighbors : int
        k; more than the dimension, and few enough that the neighbourhood is flat.
    criterion : {"threshold", "participation_ratio"}
        The number of variances above ``alpha`` times the largest (Fukunaga & Olsen 1971; the
        default of scikit-dimension's ``lPCA``), or the participation ratio
        (sum v)^2 / sum v^2 of the neighbourhood, which is no whole number.
    alpha : float
        Of the threshold.
    average, n_resamples, random_state
        As in :class:`dynprobe.dimension.local.LocalEstimator`, which also says what
        ``dimension_pw_``, ``dimension_interval_`` and ``n_undefined_`` are.

    Notes
    -----
    The participation ratio of a small neighbourhood is too low, for d flat dimensions by a factor
    of about k / (k + d), and lower near edges.
    """

    def __init__(
        self,
        n_neighbors: int = 100,
        *,
        criterion: str = "threshold",
        alpha: float = 0.05,
        average: str = "arithmetic",
        n_resamples: int = 200,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            n_neighbors, average=average, n_resamples=n_resamples, random_state=random_state
        )
        self.criterion = criterion
        self.alpha = alpha

    def _neighbors(self) -> int:
        one_of("criterion", self.criterion, CRITERIA)
        within("alpha", self.alpha, 0, 1)
        return super()._neighbors()

    def _local(self, graph: NeighborGraph, distances: Tensor) -> Tensor:
        points, k = graph.distinct, distances.shape[1]
        step = max(1, CACHED // (8 * k * max(k, points.shape[1])))
        return torch.cat([self._spread(points[rows[:, :k]]) for rows in graph.indices.split(step)])

    def _spread(self, around: Tensor) -> Tensor:
        """Dimension of each of (m, k, features)."""
        centred = around - around.mean(1, keepdim=True)
        centred = centred / centred.abs().amax((1, 2), keepdim=True)
        # the smaller of the two products has the same spectrum
        wide = centred.shape[2] > centred.shape[1]
        scatter = centred @ centred.mT if wide else centred.mT @ centred
        if self.criterion == "participation_ratio":
            total = scatter.diagonal(dim1=1, dim2=2).sum(1)
            ratio: Tensor = total.square() / scatter.square().sum((1, 2))
            return ratio
        variances = torch.linalg.eigvalsh(scatter)
        count: Tensor = (variances > self.alpha * variances[:, -1:]).sum(1).double()
        return count
