"""One exact graph of nearest neighbours, which every estimator can share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynprobe.dimension.nearest import nearest
from dynprobe.dimension.points import as_points
from dynprobe.dimension.settings import whole
from dynprobe.errors import DegenerateDataError, ShapeError


@dataclass(frozen=True, eq=False)
class NeighborGraph:
    """The k nearest neighbours of each distinct point of a cloud.

    Points that coincide have no dimension and would send every ratio of distances to 0 / 0. They
    are counted and merged: the graph is that of the distinct points.

    Attributes
    ----------
    points : Tensor
        (n, features), float64, as they were given.
    distances, indices : Tensor
        (m, k), nearest first, for the m distinct points; indices are rows of ``distinct``.
    kept : Tensor
        (m,), where in ``points`` each distinct point first stands.
    inverse : Tensor
        (n,), which distinct point each point is.

    Notes
    -----
    The search costs m^2 x features operations in float32 and the memory of a few blocks of
    products; see :mod:`dynprobe.dimension.nearest` for why it is exact.
    """

    points: Tensor
    distances: Tensor
    indices: Tensor
    kept: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, X: Any, k: int) -> NeighborGraph:
        """Find the `k` nearest neighbours of every point of `X`, (points, features).

        X may be an array or a tensor of any real dtype; the search runs where the tensor is.

        Raises
        ------
        ShapeError, NonFiniteStatesError
            As :func:`dynprobe.dimension.points.as_points`; ShapeError also where there are no more
            than k distinct points.
        DegenerateDataError
            If all points are the same.
        ParameterError
            If k is not a positive whole number.
        """
        k = whole("k", k, 1)
        points = as_points(X)
        everyone = torch.arange(len(points), device=points.device)
        _enough(points, len(points), k)
        distances, indices = nearest(points, k)
        if bool((distances[:, 0] > 0).all()):
            return cls(points, distances, indices, everyone, everyone)
        # 0.0 and -0.0 are the same point
        distinct, inverse = torch.unique(points + 0.0, dim=0, return_inverse=True)
        kept = everyone.new_full((len(distinct),), len(points))
        kept = kept.scatter_reduce(0, inverse, everyone, reduce="amin")
        _enough(points, len(distinct), k)
        distances, indices = nearest(points[kept], k)
        if not bool((distances[:, 0] > 0).all()):
            raise DegenerateDataError(
                "Some points differ by less than arithmetic can square. Multiply the points by a "
                "large number, or round them so that these coincide."
            )
        return cls(points, distances, indices, kept, inverse)

    @property
    def k(self) -> int:
        """Neighbours of each point."""
        return self.distances.shape[1]

    @property
    def n_duplicates(self) -> int:
        """Points that coincide with an earlier one."""
        return len(self.points) - len(self.kept)

    @property
    def distinct(self) -> Tensor:
        """(m, features), the points that the graph connects."""
        return self.points[self.kept] if self.n_duplicates else self.points

    def nearest(self, k: int, who: str) -> Tensor:
        """Distances to the first `k` neighbours, (m, k), as `who` asks for them.

        Raises
        ------
        ShapeError
            If the graph holds fewer.
        """
        if k > self.k:
            raise ShapeError(
                f"{who} needs {k} neighbours and the graph holds {self.k}: build it with "
                f"NeighborGraph.of(X, {k})."
            )
        return self.distances[:, :k]

    def __repr__(self) -> str:
        return (
            f"NeighborGraph({len(self.points)} points in {self.points.shape[1]} dimensions, "
            f"{self.k} neighbours, {self.n_duplicates} duplicates)"
        )


def _enough(points: Tensor, distinct: int, k: int) -> None:
    if distinct == 1:
        raise DegenerateDataError("All points are the same: they have no dimension.")
    if distinct <= k:
        said = "distinct points" if distinct < len(points) else "points"
        raise ShapeError(
            f"{k} neighbours need at least {k + 1} {said} and there are {distinct} "
            f"(n_samples={len(points)}, n_features={points.shape[1]}): give more points or ask "
            "for fewer neighbours."
        )
