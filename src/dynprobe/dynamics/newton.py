"""Damped Newton iteration on many points at once, restricted to the fast directions.

The step solves J d = -r in the span of the right singular vectors of J whose singular value is
above a split; directions below it are left alone. With a tight split this is Newton's method that
stays put along an exact continuum of solutions; with a loose split it lands on a slow manifold
without sliding along it. Damping follows the natural monotonicity test (Deuflhard, "Newton
methods for nonlinear problems", 2004, section 3.3): a step is accepted when the Newton correction
it leaves behind, measured with the same Jacobian, is smaller. The test does not depend on how the
residual is scaled, so saddles are found as readily as attractors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# A step this small against the state scale is rounding, and the iteration ends.
STEP_TOLERANCE = 1e-10
SMALLEST_DAMPING = 1 / 64


@dataclass(frozen=True)
class NewtonResult:
    """Where the iteration stopped.

    Attributes
    ----------
    states : Tensor
        (batch, n).
    step : Tensor
        (batch,), norm of the last full step in the fast directions.
    iterations : Tensor
        (batch,) int.
    """

    states: Tensor
    step: Tensor
    iterations: Tensor


def restricted_newton(
    residual: Callable[[Tensor, Tensor], Tensor],
    jacobian: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    *,
    split: float,
    scale: float,
    max_iter: int,
    trust: float = 0.5,
) -> NewtonResult:
    """Find zeros of `residual` near each row of `start`.

    Parameters
    ----------
    residual, jacobian : callable
        Called as ``f(states (b, n), index (b,))``, where index says which rows of `start` these
        are; return (b, n) and (b, n, n).
    start : Tensor
        (batch, n), float64.
    split : float
        Directions whose singular value of the Jacobian is at most this are not moved along.
    scale : float
        Size of a typical state: the unit of the stopping tolerance and of the trust region.
    max_iter : int
        Iterations per point.
    trust : float
        Longest step allowed, in units of `scale`.
    """
    x = start.clone()
    batch = x.shape[0]
    step = torch.full((batch,), torch.inf, dtype=x.dtype, device=x.device)
    iterations = torch.zeros(batch, dtype=torch.int64, device=x.device)
    active = torch.arange(batch, device=x.device)
    for _ in range(max_iter):
        if len(active) == 0:
            break
        at = x[active]
        r, jac = residual(at, active), jacobian(at, active)
        correction = _Correction.of(jac, split)
        d = correction(r)
        size = d.norm(dim=1)
        step[active] = size
        iterations[active] += 1
        finite = size.isfinite()
        moving = finite & (size > STEP_TOLERANCE * scale)
        x[active[finite]] = torch.where(moving[finite, None], at[finite], (at + d)[finite])
        if not moving.any():
            break
        active, at, d, size = active[moving], at[moving], d[moving], size[moving]
        moved, accepted = _damped(
            residual, correction.take(moving), at, d, size, active, trust * scale
        )
        x[active] = moved
        active = active[accepted]
    return NewtonResult(x, step, iterations)


@dataclass(frozen=True)
class _Correction:
    """r -> -J^+ r in the fast directions, for a batch of Jacobians.

    The eigenvectors of J^T J give the right singular vectors at a third of the price of an SVD;
    that resolves singular values down to about 1e-8 of the largest, well below the splits used.
    (An LU solve would be cheaper still, but meets exactly singular matrices here, and batched LU
    on CPU was seen to return wrong numbers from 160 rows on with several threads, torch 2.13.)
    """

    jac: Tensor  # (batch, n, n)
    v: Tensor  # (batch, n, n), right singular vectors as columns
    inverse: Tensor  # (batch, n), inverse squared singular values; 0 for the slow ones

    @classmethod
    def of(cls, jac: Tensor, split: float) -> _Correction:
        values, v = torch.linalg.eigh(jac.mT @ jac)
        tiny = torch.finfo(jac.dtype).tiny
        return cls(jac, v, torch.where(values > split**2, 1 / values.clamp(min=tiny), 0.0))

    def take(self, rows: Tensor) -> _Correction:
        return _Correction(self.jac[rows], self.v[rows], self.inverse[rows])

    def __call__(self, r: Tensor) -> Tensor:
        g = self.jac.mT @ r.unsqueeze(-1)
        d: Tensor = (self.v @ (self.inverse.unsqueeze(-1) * (self.v.mT @ g))).squeeze(-1)
        return -d


def _damped(
    residual: Callable[[Tensor, Tensor], Tensor],
    correction: _Correction,
    at: Tensor,
    d: Tensor,
    size: Tensor,
    index: Tensor,
    longest: float,
) -> tuple[Tensor, Tensor]:
    """Try shorter and shorter steps until the correction left behind has shrunk."""
    damping = (longest / size).clamp(max=1.0)
    out = at.clone()
    open_ = torch.ones(len(at), dtype=torch.bool, device=at.device)
    accepted = torch.zeros_like(open_)
    while open_.any():
        rows = open_.nonzero().flatten()
        lam = damping[rows]
        trial = at[rows] + lam[:, None] * d[rows]
        left = correction.take(rows)(residual(trial, index[rows]))
        left_size = left.norm(dim=1)
        good = left_size <= (1 - lam / 4) * size[rows]
        # the same factorisation is good for one more correction once full steps are taken
        extra = good & (lam == 1) & (left_size <= 0.25 * size[rows])
        out[rows[good]] = (trial + torch.where(extra[:, None], left, 0.0))[good]
        accepted[rows[good]] = True
        damping[rows] = lam / 2
        open_[rows] = ~good & (lam / 2 >= SMALLEST_DAMPING * (longest / size[rows]).clamp(max=1.0))
    return out, accepted
