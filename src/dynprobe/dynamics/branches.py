"""Branches of fixed points over an input that moves along a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dynprobe.dynamics.marks import Kind, Mark


@dataclass(frozen=True)
class Branch:
    """One curve of fixed points, in order. Float64, on the CPU.

    Attributes
    ----------
    states : Tensor
        (points, state_dim).
    position : Tensor
        (points,), mu: the input is x0 + mu (x1 - x0). It turns round at folds.
    inputs : Tensor
        (points, input_dim).
    n_unstable : Tensor
        (points,), eigenvalues of the map's Jacobian outside the unit circle; 0 where stable.
    spectral_radius : Tensor
        (points,), the largest magnitude of an eigenvalue.
    marks : tuple of Mark
        Folds and branch points, in order.
    starts : tuple of int
        Which of the points given lie on it.
    ends : tuple of str
        Why it was not followed beyond its first and its last point.
    closed : bool
        Whether it came back to its start: first and last point are neighbours.
    """

    states: Tensor
    position: Tensor
    inputs: Tensor
    n_unstable: Tensor
    spectral_radius: Tensor
    marks: tuple[Mark, ...]
    starts: tuple[int, ...]
    ends: tuple[str, str]
    closed: bool

    @property
    def stable(self) -> Tensor:
        """(points,), True where no eigenvalue is outside the unit circle."""
        return self.n_unstable == 0

    @property
    def folds(self) -> tuple[Mark, ...]:
        """Where mu turns round."""
        return tuple(m for m in self.marks if m.kind == Kind.FOLD)

    @property
    def branch_points(self) -> tuple[Mark, ...]:
        """Where another branch crosses."""
        return tuple(m for m in self.marks if m.kind == Kind.BRANCH_POINT)

    def __len__(self) -> int:
        """Number of points."""
        return len(self.states)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        tensors = ("states", "position", "inputs", "n_unstable", "spectral_radius")
        out: dict[str, Any] = {name: getattr(self, name).tolist() for name in tensors}
        out["marks"] = [
            {"kind": str(m.kind), "position": m.position, "after": m.after}
            | {"state": m.state.tolist(), "input": m.input.tolist()}
            for m in self.marks
        ]
        out |= {"starts": list(self.starts), "ends": list(self.ends)}
        return out | {"closed": self.closed}

    def __repr__(self) -> str:
        low, high = float(self.position.min()), float(self.position.max())
        return (
            f"Branch({len(self)} points, mu {low:g} to {high:g}, {len(self.folds)} folds, "
            f"{len(self.branch_points)} branch points)"
        )


@dataclass(frozen=True)
class Branches:
    """Distinct branches from a number of fixed points.

    Attributes
    ----------
    branches : tuple of Branch
        In order of their first start; a point that lies on an earlier branch has none of its own,
        its number is among that branch's `starts`.
    scale : float
        Size of a typical state.
    """

    branches: tuple[Branch, ...]
    scale: float

    @property
    def folds(self) -> tuple[Mark, ...]:
        """Of all branches."""
        return tuple(m for b in self.branches for m in b.folds)

    @property
    def branch_points(self) -> tuple[Mark, ...]:
        """Of all branches: one where two of them cross is there twice."""
        return tuple(m for b in self.branches for m in b.branch_points)

    def __len__(self) -> int:
        """Number of branches."""
        return len(self.branches)

    def __iter__(self) -> Iterator[Branch]:
        return iter(self.branches)

    def __getitem__(self, index: int) -> Branch:
        """One of them."""
        return self.branches[index]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {"branches": [b.to_dict() for b in self.branches], "scale": self.scale}

    def __repr__(self) -> str:
        return (
            f"Branches({len(self)} branches, {len(self.folds)} folds, "
            f"{len(self.branch_points)} branch points)"
        )
