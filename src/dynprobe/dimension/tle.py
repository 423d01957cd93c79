"""Tight locality: distances among the neighbours, too, say what dimension they fill."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynprobe.dimension.distances import CACHED
from dynprobe.dimension.local import LocalEstimator
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.settings import within


class TLE(LocalEstimator):
    """Tight local estimator: maximum likelihood over all pairs in a neighbourhood.

    From each neighbour v_i the others, and their mirror images through the point, are seen at
    distances s_ij and t_ij, measured as in the ball of radius r that the neighbourhood fills; with
    the distances u_j to the point itself d = -2 k^2 / (sum ln(s_ij / r) + sum ln(t_ij / r) +
    2 sum ln(u_j / r)) (Amsaleg et al. 2019, "Intrinsic dimensionality estimation within tight
    localities").

    Parameters
    ----------
    n_neighbors : int
        k.
    epsilon : float
        Measurements below epsilon times r are left out. scikit-dimension's ``TLE`` has the same
        default, but there in the units of the data.
    average, n_resamples, random_state
        As in :class:`dynprobe.dimension.local.LocalEstimator`, which also says what
        ``dimension_pw_``, ``dimension_interval_`` and ``n_undefined_`` are.

    Notes
    -----
    k^2 measurements instead of k: steady with few neighbours.
    """

    def __init__(
        self,
        n_neighbors: int = 20,
        *,
        epsilon: float = 1e-4,
        average: str = "arithmetic",
        n_resamples: int = 200,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            n_neighbors, average=average, n_resamples=n_resamples, random_state=random_state
        )
        self.epsilon = epsilon

    def _neighbors(self) -> int:
        within("epsilon", self.epsilon, 0, 1)
        return super()._neighbors()

    def _local(self, graph: NeighborGraph, distances: Tensor) -> Tensor:
        points, k = graph.distinct, distances.shape[1]
        step = max(1, CACHED // (8 * k * max(k, points.shape[1])))
        found = []
        for start in range(0, len(points), step):
            part = slice(start, start + step)
            around = points[graph.indices[part, :k]] - points[part, None]
            found.append(self._tight(around, distances[part]))
        return torch.cat(found)

    def _tight(self, around: Tensor, distances: Tensor) -> Tensor:
        """(m,) values from neighbours less their point, (m, k, features), and distances (m, k)."""
        k = distances.shape[1]
        radius = distances[:, -1, None, None]
        squares = (distances / radius[:, 0]).square()
        u, w = squares[:, :, None], squares[:, None, :]
        v = (u + w - 2 * (around @ around.mT) / radius.square()).clamp(min=0)
        s, t = _seen(u, w, v), _seen(u, w, 2 * u + 2 * w - v)
        kept = (
            (s >= self.epsilon)
            & (t >= self.epsilon)
            & ~torch.eye(k, dtype=torch.bool, device=s.device)
        )
        pairs = torch.where(kept, s * t, 1.0).log().sum((1, 2))
        near = distances / radius[:, 0] >= self.epsilon
        own = torch.where(near, squares, 1.0).log().sum(1)  # squares: twice the logarithm
        number = kept.sum((1, 2)) + near.sum(1)
        local: Tensor = -2 * number / (pairs + own)
        return local


def _seen(u: Tensor, w: Tensor, v: Tensor) -> Tensor:
    """The root s >= 0 of (1 - u) s^2 + b s = v with b = u + v - w: all squares over that of r.

    Of the two forms of a root, the one that subtracts nothing; at u = 1 it is v / b.
    """
    b = u + v - w
    root = (b.square() + 4 * v * (1 - u)).clamp(min=0).sqrt()
    return torch.where(b > 0, 2 * v / (b + root), (root - b) / (2 * (1 - u)))
