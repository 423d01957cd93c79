"""Ratios of distances to farther neighbours: the dimension as a function of the scale."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from torch import Tensor

from dynprobe.dimension.estimator import NeighborEstimator
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.resampling import Values
from dynprobe.dimension.settings import whole
from dynprobe.errors import DegenerateDataError, ParameterError


class GRIDE(NeighborEstimator):
    """Generalised ratios estimator, and its curve over scales.

    mu = r_{2 n} / r_n has the density d (mu^d - 1)^(n - 1) / (B(n, n) mu^((2 n - 1) d + 1)), whose
    likelihood is maximised (Denti et al. 2022). n = 1 is that of TwoNN's ratios; each
    doubling of n looks at a larger scale. A plateau of the curve is a dimension that the data have
    over a range of scales; what lies before it is noise, what comes after it the cloud's end.

    Parameters
    ----------
    n1 : int
        The scale of ``dimension_``: ratios of the (2 n1)-th to the n1-th neighbour.
    range_max : int
        The farthest neighbour of the curve.

    Attributes
    ----------
    dimension_, error_ : float
        Estimate at n1 and its standard error, from the observed information.
    dimension_interval_ : tuple of float
        dimension_ -+ 1.96 error_. Ratios of large n share neighbours, so there it is too narrow.
    scales_ : ndarray
        1, 2, 4, ... with 2 n up to range_max.
    dimension_scales_, error_scales_ : ndarray
        The same at each scale; NaN where nearly all neighbours are equally far, as on a grid.
    radius_scales_ : ndarray
        Mean distance to the (2 n)-th neighbour at each scale.
    n_duplicates_ : int
        Points that coincide with an earlier one; they are merged before the estimate.

    Notes
    -----
    As scikit-dimension's ``GRIDE`` and DADApy do, N - 1 stands for N in the score, which makes it
    unbiased at n = 1, ratios above q50 + 20 (q95 - q50) are left out, and so are equal distances.
    """

    def __init__(self, n1: int = 1, *, range_max: int = 64) -> None:
        self.n1 = n1
        self.range_max = range_max

    def _neighbors(self) -> int:
        whole("n1", self.n1, 1)
        if whole("range_max", self.range_max, 2) < 2 * self.n1:
            raise ParameterError(
                f"range_max is {self.range_max}; give at least 2 n1 = {2 * self.n1}."
            )
        return self.range_max

    def _estimate(self, graph: NeighborGraph, distances: Tensor) -> None:
        near: Values = distances.cpu().numpy()
        scales = 2 ** np.arange(int(math.log2(self.range_max)))
        found = np.array([_if_defined(near, int(n)) for n in scales])
        self.scales_ = scales
        self.dimension_scales_, self.error_scales_ = found[:, 0], found[:, 1]
        self.radius_scales_ = near[:, 2 * scales - 1].mean(0)
        self.dimension_, self.error_ = _maximum(near, self.n1)
        half = 1.96 * self.error_
        self.dimension_interval_ = (self.dimension_ - half, self.dimension_ + half)


def _if_defined(distances: Values, n: int) -> tuple[float, float]:
    try:
        return _maximum(distances, n)
    except DegenerateDataError:
        return math.nan, math.nan


def _maximum(distances: Values, n: int) -> tuple[float, float]:
    """Dimension and standard error from distances to at least 2 n neighbours."""
    ratios = distances[:, 2 * n - 1] / distances[:, n - 1]
    ratios = ratios[ratios > 1]
    if len(ratios) >= 2:
        middle, high = np.percentile(ratios, [50, 95])
        ratios = ratios[ratios < middle + 20 * (high - middle)] if high > middle else ratios
    if len(ratios) < 2:
        raise DegenerateDataError(
            f"Neighbours {n} and {2 * n} of nearly every point are equally far, as on a grid: "
            "their ratio says nothing. Set n1 higher, or use an estimator of more neighbours."
        )
    logs = np.log(ratios)
    total = float(logs.sum())

    def score(d: float) -> float:
        # mu^d / (mu^d - 1) = 1 / (1 - exp(-d ln mu))
        pulled = float((logs / -np.expm1(-d * logs)).sum())
        return (len(logs) - 1) / d + (n - 1) * pulled - (2 * n - 1) * total

    top = 1.0
    while score(top) > 0:
        top *= 2
    d = float(brentq(score, 1e-8, top, xtol=1e-12, rtol=1e-12))
    bend = np.square(logs / (2 * np.sinh(d * logs / 2))).sum()
    return d, float(1 / np.sqrt(len(logs) / d**2 + (n - 1) * bend))
