"""Newton corrections: -J^-1 r, whole, or in the fast directions only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dynamics.lu import LU, least_singular

#: A pivot this small against the largest means that the Jacobian is singular.
SINGULAR = 1e-9
#: A float32 factorisation will do while what it solves for is off by at most this share...
WELL_SOLVED = 1e-2
#: ...and saves something from matrices of this size on.
HALF_FROM = 64
#: How many of the least singular values are looked at first.
BLOCK = 8


def finite_part(jac: Tensor) -> tuple[Tensor, Tensor]:
    """Jacobians with those that hold NaN or Inf replaced by the identity, and which do not.

    A factorisation of one such matrix would raise and take the whole batch down.
    """
    finite = jac.sum(dim=(-2, -1)).isfinite()  # a sum reads them once
    if bool(finite.all()):
        return jac, finite
    finite = jac.isfinite().all(-1).all(-1)  # it can overflow where no entry does
    eye = torch.eye(jac.shape[-1], dtype=jac.dtype, device=jac.device)
    return torch.where(finite[:, None, None], jac, eye), finite


@dataclass(frozen=True)
class FullCorrection:
    """-J^-1 r.

    From a factorisation in float32 where every matrix is well enough conditioned for it, which
    is seen by solving for something known: pivots do not show it. The residuals are float64, so
    what rounding leaves of a step is found by the next one.
    """

    lu: LU
    finite: Tensor

    @classmethod
    def of(cls, jac: Tensor) -> FullCorrection:
        """Factor (batch, n, n)."""
        jac, finite = finite_part(jac)
        if jac.shape[-1] >= HALF_FROM:
            short = cls(LU.of(jac.float()), finite)
            generator = torch.Generator().manual_seed(0)
            known = torch.randn(jac.shape[-1], generator=generator, dtype=torch.float64).to(jac)
            error = (short(jac @ known) + known).norm(dim=1) / known.norm()
            if bool((error <= WELL_SOLVED).all()):  # not where it is NaN
                return short
        return cls(LU.of(jac), finite)

    @property
    def usable(self) -> Tensor:
        return self.finite & (self.lu.pivot_ratio > SINGULAR)

    def take(self, rows: Tensor) -> FullCorrection:
        return FullCorrection(self.lu.take(rows), self.finite[rows])

    def __call__(self, r: Tensor) -> Tensor:
        dtype = self.lu.factors.dtype
        if dtype == r.dtype:
            return -self.lu.solve(r.unsqueeze(-1)).squeeze(-1)
        size = r.abs().amax(dim=1, keepdim=True)  # float32 knows neither 1e40 nor 1e-50
        unit = (r / torch.where(size > 0, size, 1.0)).to(dtype)
        return -self.lu.solve(unit.unsqueeze(-1)).squeeze(-1).to(r.dtype) * size


@dataclass(frozen=True)
class SlowPart:
    """Singular directions of J whose singular value is at most a split; least last.

    Attributes
    ----------
    left, right : Tensor
        (batch, n, k), singular vectors; zero columns where a point has fewer than k.
    values : Tensor
        (batch, k), infinite where a point has fewer.
    """

    left: Tensor
    values: Tensor
    right: Tensor

    @classmethod
    def of(cls, jac: Tensor, lu: LU, split: float) -> SlowPart:
        """Find all of them: the block grows until it holds a value above the split."""
        n = jac.shape[-1]
        many = min(BLOCK, n)
        while True:
            if 2 * many >= n:
                u, values, vh = torch.linalg.svd(jac)
                left, right = u, vh.mT
                break
            left, values, right = least_singular(jac, lu, many)
            if bool((values[:, 0] > split).all()):
                break
            many *= 4
        return cls(left, values, right).up_to(split)

    def up_to(self, split: float) -> SlowPart:
        """Those up to a smaller split."""
        slow = self.values <= split
        used = int(slow.sum(1).max()) if len(slow) else 0
        slow = slow[:, slow.shape[1] - used :]
        left, right = (x[..., x.shape[-1] - used :] for x in (self.left, self.right))
        values = self.values[:, self.values.shape[1] - used :]
        return SlowPart(
            torch.where(slow[:, None], left, 0.0),
            torch.where(slow, values, torch.inf),
            torch.where(slow[:, None], right, 0.0),
        )

    @property
    def dims(self) -> Tensor:
        """(batch,), how many there are."""
        return self.values.isfinite().sum(1)

    def take(self, rows: Tensor) -> SlowPart:
        """Some of the points."""
        if len(rows) == len(self.left):
            return self
        return SlowPart(self.left[rows], self.values[rows], self.right[rows])

    def along(self, r: Tensor) -> Tensor:
        """Components of residuals along the slow left directions, (batch, k)."""
        return (self.left.mT @ r.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class FastCorrection:
    """-J^+ r in the fast directions: a point is not moved along the slow ones.

    That of a truncated singular value decomposition, at the price of an LU: the residual loses its
    part along the slow left vectors before it is solved for, the solution its part along the slow
    right vectors after; so a singular value of 1e-17 does no harm.
    """

    lu: LU
    slow: SlowPart
    usable: Tensor

    @classmethod
    def of(cls, jac: Tensor, split: float) -> FastCorrection:
        """Factor (batch, n, n); directions with a singular value up to `split` are slow."""
        jac, finite = finite_part(jac)
        lu = LU.of(jac)
        return cls(lu, SlowPart.of(jac, lu, split), finite)

    def take(self, rows: Tensor) -> FastCorrection:
        if len(rows) == len(self.slow.left):
            return self
        return FastCorrection(self.lu.take(rows), self.slow.take(rows), self.usable[rows])

    def __call__(self, r: Tensor) -> Tensor:
        left, right = self.slow.left, self.slow.right
        fast = r.unsqueeze(-1)
        d = self.lu.solve(fast - left @ (left.mT @ fast))
        return -(d - right @ (right.mT @ d)).squeeze(-1)
