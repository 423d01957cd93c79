"""Fisher separability: how seldom a point can be told from the others by a linear threshold."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import lambertw
from torch import Tensor

from dynprobe.dimension.distances import BLOCK
from dynprobe.dimension.estimator import DimensionEstimator
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.resampling import Values
from dynprobe.dimension.settings import within
from dynprobe.errors import DegenerateDataError, ParameterError

#: thresholds of scikit-dimension's FisherS
ALPHAS = np.arange(0.6, 1, 0.02)


class FisherS(DimensionEstimator):
    """Dimension of the sphere whose points are as hard to separate.

    The cloud is reduced to its main components, whitened and projected on the unit sphere. A pair
    is inseparable at alpha if x.y >= alpha; on the n-sphere the share of such pairs is about
    p = (1 - alpha^2)^((n - 1) / 2) / (alpha sqrt(2 pi n)), solved for n by Lambert's W. The
    estimate is that at 0.9 of the largest alpha where a pair is inseparable (Albergante, Bac &
    Zinovyev 2019).

    Parameters
    ----------
    conditional_number : float
        Components with less than 1 / conditional_number of the first one's variance are left out;
        10 as in scikit-dimension's ``FisherS``.

    Attributes
    ----------
    dimension_ : float
        The estimate.
    alphas_, dimension_alphas_ : ndarray
        Thresholds, and the estimate at each; NaN where every pair is separable.
    inseparable_ : ndarray
        Share of inseparable pairs at each threshold.
    n_components_ : int
        Components kept.

    Notes
    -----
    A global measure: it sees neither curvature nor clusters apart, and never exceeds
    n_components_ by much. Duplicates count as points.
    """

    def __init__(self, conditional_number: float = 10.0) -> None:
        self.conditional_number = conditional_number

    def _measure(self, cloud: NeighborGraph | Tensor) -> None:
        if within("conditional_number", self.conditional_number, 1, np.inf) == 1:
            raise ParameterError("conditional_number is 1; give a number above 1.")
        points = cloud.points if isinstance(cloud, NeighborGraph) else cloud
        x = self._on_sphere(points)
        shares = _inseparable(x, ALPHAS)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = _sphere(shares, ALPHAS)
        defined = np.isfinite(found)
        if not defined.any():
            raise DegenerateDataError(
                f"FisherS can separate every pair of the {len(points)} points "
                f"(n_features={points.shape[1]}): give more points, or use another estimator."
            )
        wanted = 0.9 * ALPHAS[defined].max()
        self.alphas_, self.inseparable_, self.dimension_alphas_ = ALPHAS.copy(), shares, found
        self.dimension_ = float(found[np.where(defined, abs(ALPHAS - wanted), np.inf).argmin()])

    def _on_sphere(self, points: Tensor) -> Tensor:
        centred = points - points.mean(0)
        if bool((points == points[0]).all()):
            raise DegenerateDataError("All points are the same: they have no dimension.")
        u, s, _ = torch.linalg.svd(centred, full_matrices=False)
        kept = s > s[0] / self.conditional_number**0.5
        self.n_components_ = int(kept.sum())
        x = u[:, kept]  # equal variances: what is projected on the sphere has no scale left
        lengths = x.norm(dim=1, keepdim=True)
        on_sphere: Tensor = (x / lengths)[lengths[:, 0] > 0]
        return on_sphere


def _inseparable(x: Tensor, alphas: Values) -> Values:
    """Share of ordered pairs of unit vectors with x.y >= alpha, for each alpha."""
    edges = torch.as_tensor(alphas, device=x.device)
    counts = torch.zeros(len(alphas) + 1, dtype=torch.int64, device=x.device)
    for rows in torch.arange(len(x), device=x.device).split(max(1, BLOCK // (8 * len(x)))):
        products = x[rows] @ x.T
        products[torch.arange(len(rows), device=x.device), rows] = -1  # a point itself is no pair
        high = products[products >= edges[0]]
        counts += torch.bincount(torch.bucketize(high, edges, right=True), minlength=len(counts))
    above: Values = counts[1:].flip(0).cumsum(0).flip(0).double().cpu().numpy()
    return above / (len(x) * (len(x) - 1))


def _sphere(shares: Values, alphas: Values) -> Values:
    """n of the sphere with these shares of inseparable pairs; not finite for shares of 0."""
    a2 = alphas**2
    w = np.log(1 - a2)
    n: Values = np.real(lambertw(-w / (2 * np.pi * shares**2 * a2 * (1 - a2)))) / -w
    return n
