"""Linear dimensions of a whole cloud, from the variances of its principal components."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from dynprobe.dimension.estimator import DimensionEstimator
from dynprobe.dimension.neighbors import NeighborGraph
from dynprobe.dimension.settings import within
from dynprobe.dimension.spectrum import centred_spectrum, components_for
from dynprobe.errors import DegenerateDataError, ParameterError


class LinearEstimator(DimensionEstimator):
    """Base of estimators that see a cloud through its variances; duplicates count as points.

    Attributes
    ----------
    variance_ratio_ : ndarray
        (components,), shares of the variance, largest first.
    """

    def _measure(self, cloud: NeighborGraph | Tensor) -> None:
        points = cloud.points if isinstance(cloud, NeighborGraph) else cloud
        shares = centred_spectrum(points).variance_ratios
        # the mean of equal points is rounded: their variance need not be zero
        if bool((points == points[0]).all()) or float(shares.sum()) == 0:
            raise DegenerateDataError("All points are the same: they have no dimension.")
        self.variance_ratio_ = shares.cpu().numpy()
        self._estimate(points, shares)

    @abstractmethod
    def _estimate(self, points: Tensor, shares: Tensor) -> None:
        """Set the attributes from float64 points and their shares of variance."""


class ParticipationRatio(LinearEstimator):
    """Participation ratio of the variances: PR = (sum v)^2 / sum v^2.

    Attributes
    ----------
    dimension_ : float
        PR; :func:`dynprobe.dimension.participation_ratio` is the same of given variances.
    dimension_interval_ : tuple of float
        PR -+ 1.96 standard errors, for independent points, from the influence of each point x on
        it, 2 PR [|x|^2 / tr C - x^T C x / tr C^2] (delta method). States of one sequence are not
        independent: the true interval is wider.
    variance_ratio_ : ndarray
        (components,), shares of the variance, largest first.

    Notes
    -----
    Gao et al. 2017; the dimension of the attractors in Aitken et al. 2020, arXiv 2010.15114. Too
    low for few points: with n points of d equal variances it is about d n / (n + d).
    """

    def _estimate(self, points: Tensor, shares: Tensor) -> None:
        ratio = float(1 / shares.square().sum())
        x = points - points.mean(0)
        x = x / x.norm(dim=1).square().mean().sqrt()  # the trace of the covariance is 1
        if x.shape[0] < x.shape[1]:  # x C x^T = row norms of the Gram matrix
            pulled = (x @ x.T).square().sum(1) / len(x)
        else:
            pulled = ((x @ (x.T @ x / len(x))) * x).sum(1)
        influence = 2 * ratio * (x.square().sum(1) - ratio * pulled)
        half = 1.96 * float(influence.std(correction=0)) / len(x) ** 0.5
        self.dimension_ = ratio
        self.dimension_interval_ = (ratio - half, ratio + half)


class VarianceThreshold(LinearEstimator):
    """The smallest number of principal components that hold a share of the variance.

    Parameters
    ----------
    share : float
        Above 0 and up to 1.

    Attributes
    ----------
    dimension_ : int
        The number.
    variance_ratio_ : ndarray
        (components,), shares of the variance, largest first.

    Notes
    -----
    A curved manifold of d dimensions needs more than d components; isotropic noise adds many.
    """

    def __init__(self, share: float = 0.95) -> None:
        self.share = share

    def _estimate(self, points: Tensor, shares: Tensor) -> None:
        if within("share", self.share, 0, 1 + 1e-15) == 0:
            raise ParameterError("share is 0; give a share of the variance above 0 and up to 1.")
        self.dimension_: int = components_for(shares, self.share)
