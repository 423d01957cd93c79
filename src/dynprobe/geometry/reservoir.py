"""A uniform sample of the points of a stream, which merges exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.errors import ParameterError, ShapeError

#: multipliers of a bijection of 64 bits that leaves no pattern (Steele, Lea & Flood 2014)
MIXERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
#: values whose bits are looked at together
BLOCK = 1_000_000


@dataclass(frozen=True, eq=False)
class Reservoir:
    """At most `size` of the points seen so far, every set of that many equally likely.

    Each point has a key that looks random, and the points with the smallest keys are kept. A key
    is made of the seed and of the point's own bits, not drawn: the sample is the same however a
    stream is cut into batches, in whatever order these come and on whatever rank they were seen.
    Accumulators need no numbers of their own, as different points have independent keys anyway.

    Attributes
    ----------
    size : int
        How many points are kept at most.
    seed : int
        Of the keys; reservoirs of different seeds are independent samples.
    seen : int
        How many points came by.
    points : Tensor
        (min(size, seen), dim), float64, on the CPU, smallest keys first: the first m of them are
        a uniform sample of m.
    keys : Tensor
        (min(size, seen),), int64, ascending.

    Notes
    -----
    Bottom-k sampling, Cohen & Kaplan 2007. Equal points have equal keys and are kept or left
    together: each is still as likely as any other, but a value that a large share of the points
    have is missing or crowds the sample. Where that matters, add a column that tells such points
    apart, for instance in which sequence they stand.
    """

    size: int
    seed: int
    seen: int
    points: Tensor
    keys: Tensor

    @classmethod
    def empty(cls, size: int, dim: int, seed: int = 0) -> Reservoir:
        """A sample of nothing yet, for points of width `dim`.

        Raises
        ------
        ParameterError
            If size is no whole number of at least 1.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ParameterError(f"size is {size!r}; give a whole number of at least 1.")
        points = torch.zeros(0, dim, dtype=torch.float64)
        return cls(size, seed, 0, points, torch.zeros(0, dtype=torch.int64))

    def add(self, points: Tensor) -> Reservoir:
        """The sample after more points, (count, dim), of any real dtype and device.

        Raises
        ------
        ShapeError
            If the shape does not fit.
        """
        dim = self.points.shape[1]
        if points.dim() != 2 or points.shape[1] != dim:
            raise ShapeError(
                f"The points have shape {tuple(points.shape)}; this reservoir takes (count, {dim})."
            )
        keys = keys_of(points, self.seed)
        smallest = keys.sort(stable=True).indices[: self.size]
        return self._with(len(points), points.detach()[smallest], keys[smallest])

    def merge(self, other: Reservoir) -> Reservoir:
        """The sample of both streams together: exactly that of one stream that holds both.

        Raises
        ------
        ParameterError
            If sizes or seeds differ: their keys cannot be compared.
        ShapeError
            If the points differ in width.
        """
        if (self.size, self.seed) != (other.size, other.seed):
            raise ParameterError(
                f"These reservoirs have sizes {self.size} and {other.size} and seeds {self.seed} "
                f"and {other.seed}; only those of one size and one seed merge."
            )
        if self.points.shape[1] != other.points.shape[1]:
            raise ShapeError(
                f"These reservoirs hold points of width {self.points.shape[1]} and "
                f"{other.points.shape[1]}; only those of one width merge."
            )
        return self._with(other.seen, other.points, other.keys)

    def _with(self, seen: int, points: Tensor, keys: Tensor) -> Reservoir:
        both = torch.cat([self.keys, keys.cpu()])
        smallest = both.sort(stable=True).indices[: self.size]
        rows = torch.cat([self.points, points.to("cpu", torch.float64)])
        return Reservoir(self.size, self.seed, self.seen + seen, rows[smallest], both[smallest])


def keys_of(points: Tensor, seed: int) -> Tensor:
    """Keys of (count, dim) points, (count,) int64, on their device.

    The bits of a point's float64 values times random odd numbers, summed modulo 2^64, and mixed:
    two different points share a key with a probability of about 2^-64.
    """
    factors = torch.randint(
        -(2**63), 2**63 - 1, (points.shape[1] + 1,), generator=torch.Generator().manual_seed(seed)
    ).to(points.device)
    factors = factors | 1
    sums = [
        (_folded(rows) * factors[1:]).sum(1)
        for rows in points.detach().split(max(1, BLOCK // max(1, points.shape[1])))
    ]
    keys = torch.cat(sums) + factors[0]
    for shift, factor in zip((30, 27), MIXERS, strict=True):
        keys = (keys ^ _shifted(keys, shift)) * factor
    return keys ^ _shifted(keys, 31)


def _folded(points: Tensor) -> Tensor:
    """The bits of each value as an int64."""
    # 0.0 and -0.0 are the same point
    bits = (points.to(torch.float64) + 0.0).contiguous().view(torch.int64)
    # the low bits of what was float32 are zeros: folded, or they would stay so in every product
    return bits ^ _shifted(bits, 32)


def _shifted(keys: Tensor, bits: int) -> Tensor:
    """Shifted right without sign: torch's own shift repeats it."""
    return (keys >> bits) & ((1 << (64 - bits)) - 1)
