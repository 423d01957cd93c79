"""What became of pushes off a manifold, and along it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

#: A push has returned when half of it is left, and has grown when it is twice as long.
RETURNED, GREW = 0.5, 2.0
#: Percentiles shown of pushes.
PERCENTILES = (0.1, 0.5, 0.9)


class Answer(StrEnum):
    """What the median push does by the end of the run: at most half is left, twice it, between."""

    RETURNS = "returns"
    STAYS = "stays"
    GROWS = "grows"


@dataclass(frozen=True)
class Response:
    """The distance between runs with and without a push, as a share of the push.

    Attributes
    ----------
    off, along : Tensor
        (pushes, steps + 1), the part of the distance off the manifold and the part along it; before
        the first step one is 1 and the other 0. Infinite where a run overflowed.
    pushed_off : bool
        Whether the pushes were off the manifold: then `off` is what may return. Else `along`.
    point : Tensor
        (pushes,), index of the state that was pushed.
    """

    off: Tensor
    along: Tensor
    pushed_off: bool
    point: Tensor

    @property
    def own(self) -> Tensor:
        """(pushes, steps + 1), the part that was pushed."""
        return self.off if self.pushed_off else self.along

    @property
    def crossed(self) -> Tensor:
        """(pushes, steps + 1), the other part: how much of a push off ends up along, and back."""
        return self.along if self.pushed_off else self.off

    @property
    def total(self) -> Tensor:
        """(pushes, steps + 1), the whole distance."""
        return torch.hypot(self.off, self.along)

    @property
    def peak(self) -> Tensor:
        """(pushes,), the longest it ever was. Above 1 a push grows before it can return."""
        return self.total.amax(1)

    @property
    def half_life(self) -> Tensor:
        """(pushes,), steps until half of the pushed part is left for good; inf if never.

        Between two steps, the decay is taken as exponential.
        """
        share, last = self.own, self.own.shape[1] - 1
        above = share > RETURNED
        number = torch.arange(last + 1)
        step = torch.where(above, number, 0).amax(1)
        after = (step + 1).clamp(max=last)
        a, b = share.gather(1, step[:, None])[:, 0], share.gather(1, after[:, None])[:, 0]
        b = b.clamp(min=torch.finfo(b.dtype).tiny)
        return torch.where(step < last, step + (a / RETURNED).log() / (a / b).log(), torch.inf)

    @property
    def answer(self) -> Answer:
        """What the median push does by the end of the run."""
        left = float(self.own[:, -1].quantile(0.5, interpolation="higher"))
        if left <= RETURNED:
            return Answer.RETURNS
        return Answer.GROWS if left >= GREW else Answer.STAYS

    def percentiles(self, part: Tensor) -> Tensor:
        """(3, steps + 1), the 10th, 50th and 90th percentile over pushes of one of the parts.

        Those of pushes that happened: nothing is interpolated, so that infinite ones do no harm.
        """
        at = torch.tensor(PERCENTILES, dtype=part.dtype)
        return part.quantile(at, dim=0, interpolation="nearest")

    def __len__(self) -> int:
        """Number of pushes."""
        return len(self.off)

    def to_dict(self) -> dict[str, Any]:
        """Medians, percentiles, half-lives and the answer as plain lists and numbers."""
        parts = {"off": self.off, "along": self.along, "total": self.total}
        out: dict[str, Any] = {k: self.percentiles(v).tolist() for k, v in parts.items()}
        out |= {"half_life": self.half_life.tolist(), "peak": self.peak.tolist()}
        return out | {"answer": str(self.answer), "point": self.point.tolist()}


@dataclass(frozen=True)
class Attraction:
    """Whether states return to a manifold after a push.

    Attributes
    ----------
    off : Response
        To pushes off the manifold.
    along : Response or None
        To pushes along it, the control; None where there was no manifold, or no direction given
        has a part along it.
    size : float
        Length of every push, in units of `scale`.
    scale : float
        Size of a typical state.
    manifold_dims : Tensor
        (points,), dimension of the manifold at each point.
    """

    off: Response
    along: Response | None
    size: float
    scale: float
    manifold_dims: Tensor

    @property
    def steps(self) -> int:
        """How long the runs are."""
        return self.off.off.shape[1] - 1

    @property
    def answer(self) -> Answer:
        """What the median push off the manifold does by the end of the run."""
        return self.off.answer

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return {
            "off": self.off.to_dict(),
            "along": None if self.along is None else self.along.to_dict(),
            "size": self.size,
            "scale": self.scale,
            "manifold_dims": self.manifold_dims.tolist(),
        }

    def __repr__(self) -> str:
        def median(x: Tensor) -> float:
            return float(x.quantile(0.5, interpolation="nearest"))

        off, left = self.off, median(self.off.off[:, -1])
        where = "" if self.along is None else f" off and {median(off.along[:, -1]):.2g} along"
        text = (
            f"Attraction({'a push' if self.along is None else 'a push off the manifold'} "
            f"{off.answer}: after {self.steps} steps {left:.2g} of it is left{where}, half-life "
            f"{median(off.half_life):.3g} steps, peak {median(off.peak):.3g}"
        )
        if self.along is not None:
            text += f"; one along it {self.along.answer}"
        return text + ")"
