"""Where the recurrence stands still, and where it nearly does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.results import Result
from dynprobe.dynamics.certificate import Status
from dynprobe.dynamics.completeness import Completeness
from dynprobe.dynamics.fixed_points import FixedPoints
from dynprobe.dynamics.linearization import linearize
from dynprobe.dynamics.search import find_fixed_points
from dynprobe.dynamics.slow_set import SlowSet


@dataclass(frozen=True)
class FixedPointsResult(Result):
    """Fixed and slow points under a held input.

    Attributes
    ----------
    points : FixedPoints
        Every point with its certificate; the first rows belong to the seeds.
    unique : FixedPoints
        Distinct certified fixed points.
    n_unstable : Tensor
        (unique points,), eigenvalues outside the unit circle: 0 is an attractor, more a saddle.
    n_fixed, n_slow, n_unconverged : int
        Seeds by status.
    slow_participation_ratio : float
        Participation ratio of the fixed and slow points of the seeds: the dimension of the
        manifold they lie on. NaN with fewer than 3, or where all came to rest at one point.
    held : str
        What input was held.
    slow_set : SlowSet
        The dimension of the fixed and slow points of the seeds by the cut on their speed.
    """

    points: FixedPoints
    unique: FixedPoints
    n_unstable: Tensor
    n_fixed: int
    n_slow: int
    n_unconverged: int
    slow_participation_ratio: float
    held: str
    slow_set: SlowSet

    @property
    def completeness(self) -> Completeness:
        """Whether fixed points are known to be missing, and what was checked."""
        return self.points.completeness[0]

    @property
    def on_continuum(self) -> Tensor:
        """(unique points,), True where a point is one of a continuum: marginal, not stable."""
        return ~self.unique.isolated

    @property
    def attractors(self) -> Tensor:
        """(unique points,), True for isolated points with no growing mode."""
        return self.unique.isolated & (self.n_unstable == 0)

    @property
    def saddles(self) -> Tensor:
        """(unique points,), True for isolated points with a growing mode: saddles, repellers."""
        return self.unique.isolated & (self.n_unstable > 0)


class FixedPointSearch(Analyzer):
    """Search from visited states, with a constant input.

    Parameters
    ----------
    n_seeds : int
        How many visited states to start from.
    noise : float
        Gaussian noise on the seeds, in units of the root mean square of a state's entries.
    held : {"mean", "zero"}
        The input held: the mean of the recorded inputs (zero where they are unknown), as in the
        single-network figures of Aitken et al. 2020, or the zero vector. Fixed points and time
        constants depend on it: a counting network remembers longest under its neutral word.
    """

    name = "fixed_points"
    requires = frozenset({"states", "recurrence"})

    def __init__(self, n_seeds: int = 256, noise: float = 0.05, held: str = "mean") -> None:
        if held not in ("mean", "zero"):
            raise ValueError(f"held is {held!r}; it is 'mean' or 'zero'.")
        self.n_seeds = n_seeds
        self.noise = noise
        self.held = held

    def analyze(self, ctx: Context) -> FixedPointsResult:
        states = ctx.recording.flat()
        typical = float(states.to(torch.float64).square().mean().sqrt())
        n = min(self.n_seeds, len(states))
        seeds = ctx.recording.sample(n, noise=self.noise * typical, seed=ctx.seed)
        inputs = ctx.recording.inputs if self.held == "mean" else None
        x = None if inputs is None else inputs[ctx.recording.mask].to(torch.float64).mean(0)
        points = find_fixed_points(ctx.recurrence, seeds, x, progress=ctx.progress)
        unique = points.unique()
        if len(unique):
            affine = ctx.recurrence.affine(unique.inputs.to(ctx.recurrence.device))
            values = (
                linearize(ctx.recurrence, unique).eigenvalues
                if affine is None
                else affine.eigenvalues().cpu()
            )
            n_unstable = (values.abs() > 1 + 1e-9).sum(1)
        else:
            n_unstable = torch.zeros(0, dtype=torch.int64)
        of_seeds = points[:n]
        by_speed = of_seeds.slow_set()
        return FixedPointsResult(
            points=points,
            unique=unique,
            n_unstable=n_unstable,
            n_fixed=of_seeds.count(Status.FIXED),
            n_slow=of_seeds.count(Status.SLOW),
            n_unconverged=of_seeds.count(Status.UNCONVERGED),
            slow_participation_ratio=float(by_speed.participation_ratio[-1]),
            held="zero input" if x is None else "mean input",
            slow_set=by_speed,
        )
