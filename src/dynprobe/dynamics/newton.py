"""Damped Newton iteration on many points at once.

Damping follows the natural monotonicity test (Deuflhard, "Newton methods for nonlinear problems",
2004, section 3.3): a step is accepted when the Newton correction it leaves behind, measured with
the same Jacobian, is smaller. The test does not depend on how the residual is scaled, so saddles
are found as readily as attractors. While corrections with one Jacobian shrink fast they are taken
too: they cost a solution of triangular systems, and a new Jacobian costs its factorisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

#: A step this small against the state scale is rounding, and the iteration ends.
STEP_TOLERANCE = 1e-10
SMALLEST_DAMPING = 1 / 64
#: The same Jacobian goes on being used while each correction is at most this share of the last.
SIMPLIFIED = 0.3
MOST_SIMPLIFIED = 6

#: No state counts as smaller than this share of the scale.
LEAST_UNIT = 1e-3

Residual = Callable[[Tensor, Tensor], Tensor]


def unit(states: Tensor, scale: float) -> Tensor:
    """What is small at each state, (batch,): its own size, within a thousandth of the scale and it.

    Seeds may lie far from where the fixed points are; their size must not say when two are one.
    """
    size: Tensor = states.norm(dim=-1).clamp(min=LEAST_UNIT * scale, max=scale)
    return size


class Correction(Protocol):
    """r -> -J^-1 r for a batch of Jacobians, or for what of it one wants."""

    def __call__(self, r: Tensor) -> Tensor:
        """Return (batch, n) for r (batch, n)."""

    def take(self, rows: Tensor) -> Correction:
        """Some of the batch."""

    @property
    def usable(self) -> Tensor | None:
        """(batch,), False where the iteration has to stop: a singular Jacobian. None: all are."""


@dataclass(frozen=True)
class NewtonResult:
    """Where the iteration stopped.

    Attributes
    ----------
    states : Tensor
        (batch, n).
    converged : Tensor
        (batch,), whether the last correction was rounding.
    known : Tensor
        (batch,), which known zero's neighbourhood was reached, where the iteration ended; -1 for
        none.
    """

    states: Tensor
    converged: Tensor
    known: Tensor


def damped_newton(
    residual: Residual,
    linearise: Callable[[Tensor, Tensor], Correction],
    start: Tensor,
    *,
    scale: float,
    max_iter: int,
    trust: float = 0.5,
    arrived: Residual | None = None,
) -> NewtonResult:
    """Find zeros of `residual` near each row of `start`.

    Parameters
    ----------
    residual : callable
        Called as ``f(states (b, n), index (b,))``, where index says which rows of `start` these
        are; returns (b, n).
    linearise : callable
        Called alike; returns the :class:`Correction` there.
    start : Tensor
        (batch, n), float64.
    scale : float
        Size of a typical state: the unit of the stopping tolerance and of the trust region.
    max_iter : int
        Jacobians per point.
    trust : float
        Longest first step, in units of `scale`; each may be twice as long as the one before.
    arrived : callable, optional
        Called like `residual`; returns (b,), the known zero that a state will go to for sure, or
        -1. The iteration ends there.
    """
    x = start.clone()
    converged = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    reached = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)
    active = torch.arange(len(x), device=x.device)
    longest = trust * scale / 2
    for _ in range(max_iter):
        if len(active) == 0:
            break
        at, longest = x[active], 2 * longest
        correction = linearise(at, active)
        d = correction(residual(at, active))
        size = d.norm(dim=1)
        going = size.isfinite()
        if correction.usable is not None:
            going &= correction.usable
        rows = going.nonzero().flatten()
        if len(rows) == 0:
            break
        active, at, d, size = active[rows], at[rows], d[rows], size[rows]
        moved, done, accepted = _damped(
            residual, correction.take(rows), at, d, size, active, longest, scale
        )
        x[active] = moved
        converged[active[done]] = True
        active = active[accepted & ~done]
        if arrived is not None and len(active):
            reached[active] = arrived(x[active], active)
            active = active[reached[active] < 0]
    return NewtonResult(x, converged, reached)


def _damped(
    residual: Residual,
    correction: Correction,
    at: Tensor,
    d: Tensor,
    size: Tensor,
    index: Tensor,
    longest: float,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Try shorter and shorter steps until the correction left behind has shrunk.

    Returns the new states, whether each has converged, and whether a step was accepted.
    """
    rounding = STEP_TOLERANCE * unit(at + d, scale)
    first = (longest / size).clamp(max=1.0)
    damping = first.clone()
    out = at.clone()
    accepted = size <= rounding  # nothing is left to try there
    done = accepted.clone()
    out[done] += d[done]
    again: list[tuple[Tensor, Tensor, Tensor]] = []
    rows = (~done).nonzero().flatten()
    while len(rows):
        lam = damping[rows]
        trial = at[rows] + lam[:, None] * d[rows]
        left = _correct(correction, rows, residual(trial, index[rows]), len(at))
        left_size = left.norm(dim=1)
        good = left_size <= (1 - lam / 4) * size[rows]
        out[rows[good]] = trial[good]
        accepted[rows[good]] = True
        fast = (good & (lam == 1) & (left_size <= SIMPLIFIED * size[rows])).nonzero().flatten()
        again.append((rows[fast], left[fast], left_size[fast]))
        damping[rows] = lam / 2
        rows = rows[~good & (lam / 2 >= SMALLEST_DAMPING * first[rows])]
    for rows, left, left_size in again:
        for _ in range(MOST_SIMPLIFIED):
            out[rows] += left
            small = left_size <= rounding[rows]
            done[rows[small]] = True
            open_ = (~small).nonzero().flatten()
            if len(open_) == 0:
                break
            rows, last = rows[open_], left_size[open_]
            left = _correct(correction, rows, residual(out[rows], index[rows]), len(at))
            left_size = left.norm(dim=1)
            fast = (left_size <= SIMPLIFIED * last).nonzero().flatten()
            rows, left, left_size = rows[fast], left[fast], left_size[fast]
            if len(rows) == 0:
                break
    return out, done, accepted


def _correct(correction: Correction, rows: Tensor, r: Tensor, batch: int) -> Tensor:
    """Corrections of some of the batch."""
    if 2 * len(rows) < batch or len(rows) == batch:
        return correction.take(rows)(r)
    # solving for a few too many is cheaper than a copy of most factors
    whole = r.new_zeros(batch, r.shape[1])
    whole[rows] = r
    return correction(whole)[rows]
