"""Count, mean and scatter of a stream of points: batches add up exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
    def of(cls, points: Tensor) -> Moments:
        """Moments of (count, n) points."""
        x = points.detach().to("cpu", torch.float64)
        if len(x) == 0:
            return cls.empty(x.shape[1])
        mean = x.mean(0)
        centred = x - mean
        return cls(len(x), mean, centred.T @ centred)

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
