"""Fixed points and slow points of a map, each with the evidence for what it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from dynprobe.dynamics.certificate import Status
from dynprobe.dynamics.completeness import Completeness
from dynprobe.dynamics.newton import unit
from dynprobe.dynamics.slow_set import SlowSet, slow_set
from dynprobe.errors import ShapeError
from dynprobe.plain import plain

#: Isolated fixed points closer than this (in units of their own size, or the scale) are one.
MERGE = 1e-4


@dataclass(frozen=True)
class FixedPoints:
    """Points of a search, with their certificates. Float64, on the CPU.

    The first rows belong to the seeds, in order; fixed points that were found beyond them, by
    following a slow point to the fixed point that governs it, come after.

    Attributes
    ----------
    states : Tensor
        (points, state_dim).
    inputs : Tensor
        (points, input_dim), the input held constant.
    speed : Tensor
        (points,), q = 1/2 ||F(s) - s||^2.
    status : Tensor
        (points,) of :class:`Status`.
    isolated : Tensor
        (points,), False where the point lies on a continuum (I - J singular).
    drift : Tensor
        (points,). Of fixed points, the residual along the null directions; of slow points, how
        far they move along the slow manifold in one step.
    step : Tensor
        (points,), Newton step still left in the fast directions.
    slow_dims : Tensor
        (points,), number of directions that relax by at most 5 % a step: the local dimension of
        the slow manifold.
    null_dims : Tensor
        (points,), of fixed points the dimension of the continuum they lie on; 0 of others.
    left, right : Tensor
        (points, k, state_dim), singular vectors of F's Jacobian minus I in the slow directions,
        the slowest first, zero rows beyond `slow_dims`. Along `right` a state is not pulled back
        (the direction of integration); `left` selects what of a push stays there.
    inside : Tensor
        (points,), in the invariant box of the map (True where none is known).
    seed : Tensor
        (points,), index of the seed it came from; -1 for seeds that the search drew itself.
    condition : Tensor
        (points,), index into `conditions`.
    conditions : tuple of str
        Names of the inputs held.
    scale : float
        Size of a typical state: median norm of the seeds, at most that of the invariant box.
    tol, slow_tol : float
        The cuts on speed: FIXED at most `tol`, SLOW at most ``slow_tol * scale**2``.
    completeness : tuple of Completeness
        For each condition, whether points are known to be missing.
    """

    states: Tensor
    inputs: Tensor
    speed: Tensor
    status: Tensor
    isolated: Tensor
    drift: Tensor
    step: Tensor
    slow_dims: Tensor
    null_dims: Tensor
    left: Tensor
    right: Tensor
    inside: Tensor
    seed: Tensor
    condition: Tensor
    conditions: tuple[str, ...]
    scale: float
    tol: float
    slow_tol: float
    completeness: tuple[Completeness, ...] = ()

    @property
    def converged(self) -> Tensor:
        """(points,), True where the point is certified FIXED."""
        return self.status == Status.FIXED

    @property
    def slow(self) -> Tensor:
        """(points,), True where the point is SLOW."""
        return self.status == Status.SLOW

    def __len__(self) -> int:
        """Number of points."""
        return len(self.states)

    def __getitem__(self, index: Tensor | slice) -> FixedPoints:
        """Some of the points: a slice, a mask or a tensor of numbers.

        What the search says of completeness is said of all its points, and not kept.
        """
        if not isinstance(index, (slice, Tensor)):
            raise ShapeError(
                f"One point is fp[{index}:{index} + 1]; several are a slice or a mask."
            )
        if isinstance(index, Tensor) and index.dim() != 1:
            raise ShapeError(f"An index of points has one axis, not {index.dim()}.")
        picked = {n: getattr(self, n)[index] for n in _PER_POINT}
        return replace(self, **picked, completeness=())

    def unique(self) -> FixedPoints:
        """Distinct FIXED points only.

        Isolated points that coincide are merged, the slowest one kept. Points of a continuum are
        all kept: they are different points, however close.
        """
        fixed = self[self.converged]
        kept = ~fixed.isolated
        left = fixed.speed.argsort(stable=True)
        left = left[fixed.isolated[left]]
        while len(left):
            first = left[0]
            kept[first] = True
            apart = (fixed.states[left] - fixed.states[first]).norm(dim=1)
            far = apart > MERGE * unit(fixed.states[first], self.scale)
            left = left[far | (fixed.condition[left] != fixed.condition[first])]
        return replace(fixed[kept.nonzero().flatten()], completeness=self.completeness)

    def slow_set(self, cuts: Tensor | None = None) -> SlowSet:
        """Dimension of the fixed and slow points as a function of the cut on speed.

        See :func:`dynprobe.dynamics.slow_set.slow_set`.
        """
        return slow_set(self, cuts)

    def count(self, status: Status) -> int:
        """Number of points of one status."""
        return int((self.status == status).sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, as JSON can hold them."""
        out: dict[str, Any] = {
            name: plain(getattr(self, name)) for name in _PER_POINT if name not in _VECTORS
        }
        out["status"] = [Status(s).name for s in self.status.tolist()]
        out |= {"conditions": list(self.conditions), "scale": self.scale}
        out["completeness"] = [asdict(c) for c in self.completeness]
        return out | {"tol": self.tol, "slow_tol": self.slow_tol}

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.count(s)} {s.name.lower()}" for s in Status)
        verdicts = "".join(f"; {c}" for c in self.completeness)
        return f"FixedPoints({len(self)} points: {counts}{verdicts})"


_PER_POINT = (
    "states",
    "inputs",
    "speed",
    "status",
    "isolated",
    "drift",
    "step",
    "slow_dims",
    "null_dims",
    "left",
    "right",
    "inside",
    "seed",
    "condition",
)
_VECTORS = ("left", "right")


def join(parts: list[FixedPoints]) -> FixedPoints:
    """Put the points of several searches of one system together."""
    widest = max(p.left.shape[1] for p in parts)
    fields: dict[str, Any] = {}
    for name in _PER_POINT:
        values = [getattr(p, name) for p in parts]
        if name in _VECTORS:
            values = [pad(v, (0, 0, 0, widest - v.shape[1])) for v in values]
        fields[name] = torch.cat(values)
    return replace(parts[0], **fields)


def overwrite(points: FixedPoints, rows: Tensor, by: FixedPoints) -> FixedPoints:
    """Some rows replaced by other points, in order."""
    chosen = torch.arange(len(points))
    chosen[rows] = len(points) + torch.arange(len(rows))
    return join([points, by])[chosen]
