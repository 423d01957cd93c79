"""How many dimensions the fixed and slow points fill, by how slow one asks them to be.

A search that stops early finds "slow points" wherever its seeds were, so that their dimension is
that of the seeds. The dimension as a function of the cut on speed shows what is a manifold of
points at rest, and what only looks like one at a loose cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dynprobe.dimension.spectrum import components_for, participation_ratio
from dynprobe.dynamics.certificate import Status
from dynprobe.geometry.moments import Moments

if TYPE_CHECKING:
    from dynprobe.dynamics.fixed_points import FixedPoints

#: Points within this share of the state scale of each other have no dimension.
ONE_PLACE = 1e-3


@dataclass(frozen=True)
class SlowSet:
    """One row for each cut, strictest first.

    Attributes
    ----------
    cuts : Tensor
        (cuts,), largest speed q, in units of the squared state scale.
    counts : Tensor
        (cuts,), FIXED and SLOW points with at most this speed.
    participation_ratio : Tensor
        (cuts,), of these points; NaN with fewer than 3, or where all lie at one place.
    components_95 : Tensor
        (cuts,), principal components for 95 % of their variance; 0 where there is no ratio.
    """

    cuts: Tensor
    counts: Tensor
    participation_ratio: Tensor
    components_95: Tensor


def slow_set(points: FixedPoints, cuts: Tensor | None = None) -> SlowSet:
    """Dimension of the fixed-and-slow set as a function of the speed cut.

    Parameters
    ----------
    points : FixedPoints
        Of one condition.
    cuts : Tensor, optional
        Speeds in units of the squared state scale; 1e-16, 1e-14, ..., 1e-4 by default.
    """
    chosen = torch.logspace(-16, -4, 7, dtype=torch.float64) if cuts is None else cuts.double()
    chosen = chosen.sort().values
    known = points[points.status != Status.UNCONVERGED]
    counts, ratios, components = [], [], []
    for cut in chosen.tolist():
        some = known.states[known.speed <= cut * points.scale**2]
        counts.append(len(some))
        ratio, needed = float("nan"), 0
        moments = Moments.of(some)
        if not no_dimension(moments, points.scale):
            variances, _ = moments.principal_components()
            ratio, needed = participation_ratio(variances), components_for(variances, 0.95)
        ratios.append(ratio)
        components.append(needed)
    return SlowSet(
        chosen,
        torch.tensor(counts),
        torch.tensor(ratios, dtype=torch.float64),
        torch.tensor(components),
    )


def no_dimension(moments: Moments, scale: float) -> str:
    """Why points of these moments have no dimension; empty where they have one."""
    if moments.count < 3:
        return f"{moments.count} of at least 3 points"
    if float(moments.covariance.trace()) <= (ONE_PLACE * scale) ** 2:
        return f"all {moments.count} points lie at one place"
    return ""
