"""What every estimator does: take points in any form, and find or share a neighbour graph."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import Tensor

from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.points import as_points


class DimensionEstimator(BaseEstimator):
    """Base of all estimators: ``fit(X)`` takes an array, a tensor or a :class:`NeighborGraph`.

    Attributes
    ----------
    dimension_ : float
        The estimate.
    n_features_in_ : int
        Width of the points.
    """

    dimension_: float

    def fit(self, X: Any, y: Any = None) -> Self:
        """Estimate the dimension of `X`, (points, features), or of the points of a graph.

        NumPy arrays and data frames pass scikit-learn's validation. Tensors may have any real
        dtype, live on any device and require gradients. `y` is ignored.

        Raises
        ------
        ValueError
            For NaN, Inf, too few points for the settings or points that all coincide; from tensors
            and graphs as NonFiniteStatesError, ShapeError and DegenerateDataError, which are
            ValueErrors.
        """
        if isinstance(X, NeighborGraph | Tensor):
            cloud: NeighborGraph | Tensor = X if isinstance(X, NeighborGraph) else as_points(X)
            points = cloud.points if isinstance(cloud, NeighborGraph) else cloud
            self.n_features_in_ = points.shape[1]
            if hasattr(self, "feature_names_in_"):  # of an earlier data frame
                del self.feature_names_in_
        else:
            cloud = as_points(validate_data(self, X, dtype=np.float64, ensure_min_samples=2))
        self._measure(cloud)
        return self

    @abstractmethod
    def _measure(self, cloud: NeighborGraph | Tensor) -> None:
        """Set the attributes from float64 points or their graph."""


class NeighborEstimator(DimensionEstimator):
    """Base of estimators that look at distances to neighbours.

    Attributes
    ----------
    dimension_interval_ : tuple of float
        95 % interval over points.
    n_duplicates_ : int
        Points that coincide with an earlier one; they are merged before the estimate.
    """

    dimension_interval_: tuple[float, float]

    def _measure(self, cloud: NeighborGraph | Tensor) -> None:
        k = self._neighbors()
        graph = cloud if isinstance(cloud, NeighborGraph) else NeighborGraph.of(cloud, k)
        self.n_duplicates_ = graph.n_duplicates
        self._estimate(graph, graph.nearest(k, type(self).__name__))

    @abstractmethod
    def _neighbors(self) -> int:
        """Check the settings; return how many neighbours are needed."""

    @abstractmethod
    def _estimate(self, graph: NeighborGraph, distances: Tensor) -> None:
        """Set the attributes from distances to that many neighbours, (distinct, k)."""
