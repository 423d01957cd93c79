"""Count, mean and scatter of a stream of points: batches add up exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Points whose products are summed at once, so that their float64 copy stays in the processor's
#: cache, and columns of the scatter.
_ROWS, _COLUMNS = 2048, 64


@dataclass(frozen=True)
class Moments:
    """First and second moments of points seen so far, in float64.

    Attributes
    ----------
    count : int
        Number of points.
    mean : Tensor
        (n,).
    scatter : Tensor
        (n, n), sum of (x - mean)(x - mean)^T.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def empty(cls, n: int) -> Moments:
        """Moments of no point of width n."""
        zero = torch.zeros(n, dtype=torch.float64)
        return cls(0, zero, torch.zeros(n, n, dtype=torch.float64))

    @classmethod
    def of(cls, points: Tensor, *, single: bool = False) -> Moments:
        """Moments of (count, n) points.

        Parameters
        ----------
        single : bool
            Form products of float32 points, centred, in float32, and sum those of every 2,048
            points in float64. Faster; variances below about 1e-7 of the largest are then noise.
            Points of float64 stay in float64.
        """
        x = points.detach().cpu()
        if len(x) == 0:
            return cls.empty(x.shape[1])
        return _single(x) if single and x.dtype == torch.float32 else _exact(x)

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets together (Chan, Golub & LeVeque 1983)."""
        if self.count == 0:
            return other
        if other.count == 0:
            return self
        count = self.count + other.count
        shift = other.mean - self.mean
        scatter = (
            self.scatter
            + other.scatter
            + torch.outer(shift, shift) * (self.count * other.count / count)
        )
        return Moments(count, self.mean + shift * (other.count / count), scatter)

    @property
    def covariance(self) -> Tensor:
        """(n, n), divided by count - 1."""
        return self.scatter / max(self.count - 1, 1)

    def principal_components(self) -> tuple[Tensor, Tensor]:
        """Variances (n,), largest first, and the components (n, n) as rows.

        The sign of a component is chosen so that its largest entry is positive.
        """
        values, vectors = torch.linalg.eigh(self.covariance)
        components = vectors.T.flip(0)
        largest = components.abs().argmax(1, keepdim=True)
        components = components * components.gather(1, largest).sign()
        return values.flip(0).clamp(min=0.0), components


def _exact(x: Tensor) -> Moments:
    """Both moments in one pass, in float64; of the scatter little more than half is formed."""
    n = x.shape[1]
    # any point near the mean will do: what it is off by is taken out at the end. Where it is off
    # by many thousand times the spread, so much of the precision is lost as of any sum of squares
    near = x[:_ROWS].mean(0, dtype=torch.float64)
    buffer = torch.empty(min(_ROWS, len(x)), n, dtype=torch.float64)
    ones = torch.ones(len(buffer), dtype=torch.float64)
    total = torch.zeros(n, dtype=torch.float64)
    scatter = torch.zeros(n, n, dtype=torch.float64)
    for block in x.split(_ROWS):
        centred = buffer[: len(block)].copy_(block).sub_(near)
        total += ones[: len(block)] @ centred
        for i in range(0, n, _COLUMNS):
            j = i + _COLUMNS
            scatter[i:j, :j].addmm_(centred[:, i:j].T, centred[:, :j])
    off = total / len(x)
    half = scatter.tril()
    return Moments(
        len(x), near + off, half + half.T - half.diag().diag() - len(x) * torch.outer(off, off)
    )


def _single(x: Tensor) -> Moments:
    blocks = x.split(_ROWS)
    mean = torch.stack([block.sum(0, dtype=torch.float64) for block in blocks]).sum(0) / len(x)
    near = mean.to(torch.float32)
    scatter = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for block in blocks:
        centred = block - near
        scatter += centred.T @ centred
    # about the rounded mean it is too large by this much
    off = mean - near
    return Moments(len(x), mean, scatter - len(x) * torch.outer(off, off))
