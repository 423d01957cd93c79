"""Manifold-adaptive dimension: how far one goes to see twice as many neighbours."""

from __future__ import annotations

import math

from torch import Tensor

from dynprobe.dimension.local import LocalEstimator
from dynprobe.dimension.neighbors import NeighborGraph


class MADA(LocalEstimator):
    """Manifold-adaptive estimator: d = ln 2 / ln(T_k / T_{k/2}).

    T_j is the distance to the j-th neighbour (Farahmand, Szepesvari & Audibert 2007).

    Parameters
    ----------
    n_neighbors : int
        k; an odd one is halved downwards.
    average, n_resamples, random_state
        As in :class:`dynprobe.dimension.local.LocalEstimator`, which also says what
        ``dimension_pw_``, ``dimension_interval_`` and ``n_undefined_`` are.

    Notes
    -----
    Two distances a point make it noisy, and the inverse of a noisy logarithm is too large on
    average: the bias goes up with the dimension and cancels part of that of edges. Defaults are
    those of scikit-dimension's ``MADA``.
    """

    def _local(self, graph: NeighborGraph, distances: Tensor) -> Tensor:
        half = distances[:, distances.shape[1] // 2 - 1]
        local: Tensor = math.log(2) / (distances[:, -1] / half).log()
        return local
