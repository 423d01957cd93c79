"""Estimators of one value for each point, averaged."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from torch import Tensor

from dynprobe.dimension.estimator import NeighborEstimator
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.resampling import Values, interval
from dynprobe.dimension.settings import one_of, whole
from dynprobe.errors import DegenerateDataError

AVERAGES = ("harmonic", "arithmetic")


class LocalEstimator(NeighborEstimator):
    """Base of estimators that find a dimension around each point.

    Parameters
    ----------
    n_neighbors : int
        Size of a neighbourhood, without the point itself.
    average : {"harmonic", "arithmetic"}
        Mean of the inverses of the local values, inverted, or their plain mean.
    n_resamples : int
        Bootstrap draws behind ``dimension_interval_``; 0 leaves it out.
    random_state : int, numpy Generator or None
        Of these draws. None never touches NumPy's global state either.

    Attributes
    ----------
    dimension_ : float
        The average.
    dimension_pw_ : ndarray
        (points,), the value around each point; duplicates share theirs.
    dimension_interval_ : tuple of float
        95 % bootstrap interval over points: how far the average would move with other points from
        the same cloud. It says nothing of bias, and neighbouring values share neighbours, so it
        is somewhat too narrow.
    n_undefined_ : int
        Distinct points whose local value is not finite or not positive, for instance because all
        their neighbours are equally far. An arithmetic average leaves them out; in a harmonic one
        an infinite value counts as 1 / inf = 0.
    """

    def __init__(
        self,
        n_neighbors: int = 20,
        *,
        average: str = "arithmetic",
        n_resamples: int = 200,
        random_state: Any = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.average = average
        self.n_resamples = n_resamples
        self.random_state = random_state

    def _neighbors(self) -> int:
        one_of("average", self.average, AVERAGES)
        whole("n_resamples", self.n_resamples, 0)
        return whole("n_neighbors", self.n_neighbors, 2)

    def _estimate(self, graph: NeighborGraph, distances: Tensor) -> None:
        local: Values = self._local(graph, distances).cpu().numpy()
        defined = np.isfinite(local) & (local > 0)
        self.n_undefined_ = int((~defined).sum())
        if not defined.any():
            raise DegenerateDataError(
                f"{type(self).__name__} is defined around no point: all neighbours of a point are "
                "equally far. Give more neighbours."
            )
        harmonic = self.average == "harmonic"
        counted = defined | (harmonic & (local == np.inf))
        values = 1 / local[counted] if harmonic else local[counted]

        def average(drawn: Any) -> float:
            mean = float(np.average(values, weights=drawn))
            return 1 / mean if harmonic else mean

        self.dimension_ = average(None)
        self.dimension_interval_ = interval(
            average, len(values), self.n_resamples, self.random_state
        )
        self.dimension_pw_ = local[graph.inverse.cpu().numpy()]

    @abstractmethod
    def _local(self, graph: NeighborGraph, distances: Tensor) -> Tensor:
        """The value around each distinct point, (distinct,), from distances (distinct, k)."""
