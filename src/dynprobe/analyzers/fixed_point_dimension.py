"""How many dimensions the fixed and the slow points use, to stand beside those of the states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.cloud_dimension import CloudDimension, cloud_dimension
from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.analyzers.manifold_dimension import ManifoldDimensionResult
from dynprobe.analyzers.results import Result
from dynprobe.dynamics.certificate import Status
from dynprobe.dynamics.slow_set import no_dimension
from dynprobe.geometry.moments import Moments


@dataclass(frozen=True)
class FixedPointDimensionResult(Result):
    """Dimension of the points where the map stands still, or nearly.

    Attributes
    ----------
    fixed : CloudDimension or None
        Of the distinct certified fixed points, each counted once. They are no sample of anything:
        there is no interval.
    slow : CloudDimension or None
        Of the fixed and slow points at which the seeds came to rest, up to `cut`.
    no_fixed, no_slow : str
        Why the one or the other has no dimension; empty where it has.
    cut : float
        Largest speed q of a slow point, in units of the squared state scale.
        ``report["fixed_points"].slow_set`` holds the dimension for stricter cuts: look there
        before believing `slow`, as points that hardly left their seeds have their dimension.
    """

    fixed: CloudDimension | None
    slow: CloudDimension | None
    no_fixed: str
    no_slow: str
    cut: float


class FixedPointDimension(Analyzer):
    """PCA of the points that the analyzer `fixed_points` finds."""

    name = "fixed_point_dimension"
    requires = frozenset({"states", "recurrence"})

    def analyze(self, ctx: Context) -> FixedPointDimensionResult:
        found: FixedPointsResult = ctx.result("fixed_points")
        visited: ManifoldDimensionResult = ctx.result("manifold_dimension")
        scale, cut = found.points.scale, float(found.slow_set.cuts[-1])
        of_seeds = found.points[: found.n_fixed + found.n_slow + found.n_unconverged]
        resting = (of_seeds.status != Status.UNCONVERGED) & (of_seeds.speed <= cut * scale**2)
        slow = of_seeds.states[resting]

        def measured(states: Tensor, groups: Tensor | None) -> tuple[CloudDimension | None, str]:
            states = states.to("cpu", torch.float64)
            moments = Moments.of(states)
            if why := no_dimension(moments, scale):
                return None, why
            classes = visited.n_classes
            return cloud_dimension(moments, classes, states, groups, seed=ctx.seed), ""

        fixed, no_fixed = measured(found.unique.states, None)
        resting_dimension, no_slow = measured(slow, torch.arange(len(slow)))
        return FixedPointDimensionResult(
            fixed=fixed, slow=resting_dimension, no_fixed=no_fixed, no_slow=no_slow, cut=cut
        )
