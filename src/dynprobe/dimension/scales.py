"""Dimension against the size of the neighbourhood, for several estimators on one graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dimension.estimator import NeighborEstimator
from dynprobe.dimension.gride import GRIDE
from dynprobe.dimension.local_pca import LocalPCA
from dynprobe.dimension.mle import MLE
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.errors import DegenerateDataError

#: A neighbourhood of more than a quarter of the points is the cloud, not a part of it.
PARTS = 4

#: By name: how an estimator is made for k neighbours, and the k at which it is worth asking.
ESTIMATORS: dict[str, tuple[Callable[[int], NeighborEstimator], range]] = {
    "GRIDE": (lambda k: GRIDE(k // 2, range_max=k), range(2, 513)),
    "MLE": (lambda k: MLE(k), range(4, 513)),
    # grows with the cube of k, and of fewer neighbours than dimensions it is just k - 1
    "local PCA": (lambda k: LocalPCA(k, criterion="participation_ratio"), range(16, 129)),
}


@dataclass(frozen=True)
class Curve:
    """One estimator at each size of the neighbourhood.

    Attributes
    ----------
    neighbors : Tensor
        (sizes,), int64, rising.
    radius : Tensor
        (sizes,), mean distance to the farthest of them.
    dimension, low, high : Tensor
        (sizes,), the estimate and its 95 % interval over points, which holds no bias.
    """

    neighbors: Tensor
    radius: Tensor
    dimension: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class Scales:
    """What :func:`dimension_scales` finds.

    Attributes
    ----------
    curves : dict
        :class:`Curve` by estimator. No number in them is NaN or infinite: a size at which an
        estimator says nothing is left out; one that never says anything has no curve.
    n_points, n_duplicates : int
        Points, and those that coincide with an earlier one and were merged with it.
    radius : float
        Root mean square distance of the points from their mean.
    notes : tuple of str
        What was left out, and why.
    """

    curves: dict[str, Curve]
    n_points: int
    n_duplicates: int
    radius: float
    notes: tuple[str, ...]


def dimension_scales(points: Tensor, *, progress: Callable[[int, int], None]) -> Scales:
    """Fit every estimator at 2, 4, 8, ... neighbours, up to 512 and to a quarter of the points.

    Parameters
    ----------
    points : Tensor
        (points, features), finite.
    progress : callable
        ``progress(done, total)``.

    Notes
    -----
    One exact :class:`NeighborGraph` serves all. GRIDE at k neighbours compares the distance to the
    k-th with that to the (k / 2)-th (Denti et al. 2022), MLE all distances up to the k-th (Levina &
    Bickel 2004), local PCA is the participation ratio of the k neighbours' variances.
    """
    distinct = len(torch.unique(points + 0.0, dim=0))
    spread = points.double() - points.double().mean(0)
    radius = float(spread.square().sum(1).mean().sqrt())
    smallest = min(sizes.start for _, sizes in ESTIMATORS.values())

    def nothing(why: str) -> Scales:
        return Scales({}, len(points), len(points) - distinct, radius, (why,))

    if distinct < PARTS * smallest:
        said = "state" if distinct == 1 else "states"
        return nothing(
            f"{distinct} distinct {said} of {len(points)}: neighbourhoods need at least "
            f"{PARTS * smallest}"
        )
    sizes = [2**i for i in range(1, 10) if PARTS * 2**i <= distinct]
    try:
        graph = NeighborGraph.of(points, sizes[-1])
    except DegenerateDataError as error:
        return nothing(str(error))
    curves: dict[str, Curve] = {}
    notes: list[str] = []
    for done, (name, (make, worth)) in enumerate(ESTIMATORS.items()):
        asked = [k for k in sizes if k in worth]
        rows, silent = _fitted(graph, make, asked)
        if rows:
            k, *numbers = zip(*rows, strict=True)
            curves[name] = Curve(torch.tensor(k), *map(_column, numbers))
        if silent:
            ties = ", ".join(map(str, silent))
            notes.append(f"{name} says nothing at {ties} neighbours, which are equally far")
        if not asked:
            notes.append(f"{name} needs {PARTS * worth.start} distinct states")
        progress(done + 1, len(ESTIMATORS))
    return Scales(curves, len(points), graph.n_duplicates, radius, tuple(notes))


def _fitted(
    graph: NeighborGraph, make: Callable[[int], NeighborEstimator], sizes: list[int]
) -> tuple[list[tuple[float, ...]], list[int]]:
    """Rows of a curve, and the sizes at which neighbours are too alike for one."""
    rows: list[tuple[float, ...]] = []
    silent = []
    for k in sizes:
        try:
            fitted = make(k).fit(graph)
        except DegenerateDataError:
            silent.append(k)
            continue
        low, high = fitted.dimension_interval_
        row = (k, float(graph.distances[:, k - 1].mean()), fitted.dimension_, low, high)
        if all(map(math.isfinite, row)):
            rows.append(row)
        else:
            silent.append(k)
    return rows, silent


def _column(numbers: tuple[float, ...]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)
