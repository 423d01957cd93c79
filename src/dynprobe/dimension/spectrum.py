"""Linear dimension measures: functions of a spectrum of variances, and of a few points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def participation_ratio(variances: Tensor) -> float:
    """PR = (sum v)^2 / sum v^2: the number of directions, weighted by how much they are used.

    Parameters
    ----------
    variances : Tensor
        (n,), the variances along the principal components; their order does not matter.

    Returns
    -------
    float
        Between 1 and n; NaN where there is no variance at all.

    Notes
    -----
    Gao et al. 2017; used for attractor dimension in Aitken et al. 2020, arXiv 2010.15114.
    """
    v = variances.to(torch.float64)
    return float(v.sum() ** 2 / v.square().sum())


def components_for(variances: Tensor, share: float) -> int:
    """Smallest number of principal components that hold at least `share` of the variance.

    Parameters
    ----------
    variances : Tensor
        (n,), largest first.
    share : float
        Between 0 and 1.
    """
    # on the CPU, because CUDA's sums are refused where deterministic algorithms are asked for
    v = variances.to("cpu", torch.float64)
    held = v.cumsum(0) / v.sum()
    # rounding must not cost a component: 0.95 of exact 0.95 counts as reached
    return int((held < share - 1e-12).sum()) + 1


@dataclass(frozen=True, eq=False)
class Spectrum:
    """PCA variances of a point cloud.

    Attributes
    ----------
    variance_ratios
        Share of each component, descending, float64, ``(components,)``.
    participation_ratio
        ``1 / sum(ratio ** 2)``: the effective number of components.
    n_components_95
        The smallest number of components that hold 95 % of the variance.
    """

    variance_ratios: Tensor
    participation_ratio: float
    n_components_95: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, ready for JSON."""
        return {
            "variance_ratios": self.variance_ratios.tolist(),
            "participation_ratio": self.participation_ratio,
            "n_components_95": self.n_components_95,
        }


def centred_spectrum(points: Tensor, weights: Tensor | None = None) -> Spectrum:
    """Return the PCA variances of `points`, ``(points, features)``, about their mean.

    Points that all coincide have no dimension: ratios, participation ratio and number are 0.
    `weights`, ``(points,)``, say how often each counts; once by default.
    """
    x = points.double()
    share = x.new_full((len(x),), 1 / len(x)) if weights is None else weights.double()
    share = (share / share.sum())[:, None]
    variances = torch.linalg.svdvals(share.sqrt() * (x - (share * x).sum(dim=0))).square()
    total = variances.sum()
    if total == 0:
        return Spectrum(torch.zeros_like(variances), 0.0, 0)
    ratios = variances / total
    return Spectrum(
        variance_ratios=ratios,
        participation_ratio=participation_ratio(ratios),
        n_components_95=components_for(ratios, 0.95),
    )
