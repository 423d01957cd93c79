"""Were all fixed points found? What a count of indices can say, and what it cannot.

A continuous map of a box into itself whose fixed points are all isolated has indices
sign det(I - J) that sum to 1 (Lefschetz, Hopf). A sum other than 1 proves that points are missing;
a sum of 1 proves nothing, as points are born in pairs of opposite index.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from dynprobe.dynamics.lu import LU
from dynprobe.dynamics.maps import Map

#: Pivots whose ratio is below this make the sign of a determinant rounding.
SIGN_LIMIT = 1e-12


class Verdict(StrEnum):
    """What the indices say."""

    CONSISTENT = "consistent"
    INCOMPLETE = "incomplete"
    CLOSED_FORM = "closed form"
    UNDETERMINED = "undetermined"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Completeness:
    """What was checked of one condition.

    Attributes
    ----------
    condition : str
        Name of the input held.
    verdict : Verdict
        ``CONSISTENT``: the indices sum to 1, nothing speaks against the set being complete.
        ``INCOMPLETE``: they do not; fixed points are missing. ``CLOSED_FORM``: the map is affine,
        there is nothing else. ``UNDETERMINED``: an index is within rounding of changing its sign.
        ``NOT_APPLICABLE``: nothing can be said, see `reason`.
    index_sum : int or None
        Sum of sign det(I - J) over the distinct isolated fixed points, where it means something.
    rounds : int
        Rounds of new seeds that were spent because the sum was not 1.
    reason : str
        A sentence.
    """

    condition: str
    verdict: Verdict
    index_sum: int | None
    rounds: int
    reason: str

    def __str__(self) -> str:
        return f"{self.condition}: {self.verdict}; {self.reason}"


def index_sum(system: Map, states: Tensor, inputs: Tensor) -> int | None:
    """Sum of sign det(I - J) over isolated fixed points (points, state_dim).

    Measured on the root form, whose rows are those of F(s) - s up to positive factors. None where
    a sign is rounding.
    """
    total = 0
    for s, x in zip(states, inputs, strict=True):  # one Jacobian at a time
        lu = LU.of(-system.root_jacobian(s[None], x[None]))
        if float(lu.pivot_ratio) <= SIGN_LIMIT:
            return None
        total += int(lu.determinant_sign())
    return total


def between(known: Tensor, many: int, noise: float, generator: torch.Generator) -> Tensor:
    """New seeds between known fixed points: a saddle lies between what it separates.

    Parameters
    ----------
    known : Tensor
        (points, state_dim).
    many : int
        How many seeds.
    noise : float
        Standard deviation of Gaussian noise on every number.
    generator : torch.Generator
        Of the draw, on the CPU.

    Returns
    -------
    Tensor
        (many, state_dim): mixtures of 2 to 8 of the points, and noise.
    """
    parts = min(8, len(known))
    mixed = torch.randint(1, parts + 1, (many, 1), generator=generator)
    which = torch.rand(many, len(known), generator=generator).argsort(1)[:, :parts]
    weight = -torch.rand(many, parts, generator=generator, dtype=torch.float64).log()
    weight = torch.where(torch.arange(parts) <= mixed, weight, 0.0)
    weight = (weight / weight.sum(1, keepdim=True)).to(known)
    seeds = torch.einsum("mp,mpd->md", weight, known[which.to(known.device)])
    jitter = torch.randn(seeds.shape, generator=generator, dtype=torch.float64)
    return seeds + noise * jitter.to(seeds)


def within(bound: Tensor, many: int, generator: torch.Generator) -> Tensor:
    """New seeds from a box with half-widths (state_dim,), drawn at all sizes: (many, state_dim)."""
    size = torch.rand(many, 1, generator=generator, dtype=torch.float64)
    place = 2 * torch.rand(many, len(bound), generator=generator, dtype=torch.float64) - 1
    return bound * (size * place).to(bound)


def judge(
    condition: str,
    *,
    shared: bool,
    bounded: bool,
    interrupted: bool,
    continuum: bool,
    total: int | None,
    rounds: int,
) -> Completeness:
    """Put what was found into words."""
    obstacles = {
        "the search was interrupted": interrupted,
        "every seed holds an input of its own": not shared,
        "no box is known that the map takes into itself": not bounded,
        "fixed points form a continuum, and the sum is one over isolated points": continuum,
    }
    for reason, applies in obstacles.items():
        if applies:
            return Completeness(condition, Verdict.NOT_APPLICABLE, None, rounds, reason)
    if total is None:
        reason = "I - J is singular at a fixed point, up to rounding: its index has no sign"
        return Completeness(condition, Verdict.UNDETERMINED, None, rounds, reason)
    if total == 1:
        reason = (
            "the indices sum to 1, as they must; points missed in pairs of opposite index would "
            "not show"
        )
        return Completeness(condition, Verdict.CONSISTENT, 1, rounds, reason)
    reason = (
        f"the indices sum to {total} and not to 1, so that fixed points are missing: search from "
        "more seeds, or with more noise"
    )
    return Completeness(condition, Verdict.INCOMPLETE, total, rounds, reason)
