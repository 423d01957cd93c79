"""How long a network remembers, looked up quickly."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.dynamics.certificate import Status
from dynprobe.dynamics.linearization import linearize
from dynprobe.dynamics.search import find_fixed_points


@dataclass(frozen=True)
class SlowModesResult:
    """Modes at the fixed and slow points that a few seeds lead to, under the mean input.

    Attributes
    ----------
    n_fixed, n_slow : int
        Seeds that came to rest at a fixed point, and that only slowed down.
    longest_time_constant : float or None
        Median over these points of the longest tau, in the recording's unit; None without points.
    n_integrating : int or None
        Median number of modes with tau at or above the median length of the sequences.
    """

    n_fixed: int
    n_slow: int
    longest_time_constant: float | None
    n_integrating: int | None


class QuickSlowModes(Analyzer):
    """A search that is bounded: few seeds, no hunt for missing points, no controls.

    The analyzers ``fixed_points`` and ``integration_direction`` ask the same thoroughly.

    Parameters
    ----------
    n_seeds : int
        Visited states to start from.
    max_iter : int
        Jacobians per seed and stage.
    """

    name = "quick_slow_modes"
    requires = frozenset({"states", "recurrence"})

    def __init__(self, n_seeds: int = 8, max_iter: int = 20) -> None:
        self.n_seeds, self.max_iter = n_seeds, max_iter

    def analyze(self, ctx: Context) -> SlowModesResult:
        rec = ctx.recording
        seeds = rec.sample(min(self.n_seeds, int(rec.lengths.sum())), seed=ctx.seed)
        x = None if rec.inputs is None else rec.inputs[rec.mask].to(torch.float64).mean(0)
        points = find_fixed_points(
            ctx.recurrence, seeds, x, max_iter=self.max_iter, rounds=0, progress=ctx.progress
        )[: len(seeds)]
        n_fixed, n_slow = points.count(Status.FIXED), points.count(Status.SLOW)
        if n_fixed + n_slow == 0:
            return SlowModesResult(0, 0, None, None)
        tau = linearize(ctx.recurrence, points[points.status != Status.UNCONVERGED]).time_constants
        length = float(rec.lengths.to(torch.float64).median())
        return SlowModesResult(
            n_fixed=n_fixed,
            n_slow=n_slow,
            longest_time_constant=rec.meta.dt * float(tau.amax(1).median()),
            n_integrating=int((tau >= length).sum(1).median()),
        )
