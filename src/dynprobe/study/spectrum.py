"""How variance spreads over the principal components of a few points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynprobe.dimension import components_for, participation_ratio


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


def centred_spectrum(points: Tensor) -> Spectrum:
    """Return the PCA variances of `points`, ``(points, features)``, about their mean.

    Points that all coincide have no dimension: ratios, participation ratio and number are 0.
    """
    centred = points.double() - points.double().mean(dim=0)
    variances = torch.linalg.svdvals(centred).square()
    total = variances.sum()
    if total == 0:
        return Spectrum(torch.zeros_like(variances), 0.0, 0)
    ratios = variances / total
    return Spectrum(
        variance_ratios=ratios,
        participation_ratio=participation_ratio(ratios),
        n_components_95=components_for(ratios, 0.95),
    )
