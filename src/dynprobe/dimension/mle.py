"""Maximum likelihood of a locally uniform density."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dynprobe.dimension.local import LocalEstimator
from dynprobe.dimension.neighbors import NeighborGraph


class MLE(LocalEstimator):
    """Maximum likelihood estimator: the number of neighbours grows as the radius to the d.

    m_k(x) = [1 / (k - 1) sum_{j < k} ln(T_k(x) / T_j(x))]^-1 with T_j the distance to the j-th
    neighbour (Levina & Bickel 2004, eq. 8).

    Parameters
    ----------
    n_neighbors : int
        k. The reference networks' figures use 10.
    average : {"harmonic", "arithmetic"}
        Over the points: the harmonic mean is the likelihood of all of them together (MacKay &
        Ghahramani 2005) and far less biased for few neighbours; the arithmetic one is that
        of Levina & Bickel.
    n_resamples, random_state
        As in :class:`dynprobe.dimension.local.LocalEstimator`, which also says what
        ``dimension_pw_``, ``dimension_interval_`` and ``n_undefined_`` are.

    Notes
    -----
    Too low near the edge of the cloud and above about ten dimensions, where the number of points
    would have to grow exponentially. Defaults are those of scikit-dimension's ``MLE``.
    """

    def __init__(
        self,
        n_neighbors: int = 20,
        *,
        average: str = "harmonic",
        n_resamples: int = 200,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            n_neighbors, average=average, n_resamples=n_resamples, random_state=random_state
        )

    def _local(self, graph: NeighborGraph, distances: Tensor) -> Tensor:
        logs = distances.log()
        mean: Tensor = (logs[:, -1:] - logs[:, :-1]).mean(1)
        return mean.reciprocal()
