"""Have all fixed points been found? A count that must come out as 1.

For a map that takes a box into itself, the sum over all its fixed points of the sign of
det(I - J) is 1, provided that no fixed point has det(I - J) = 0 (Lefschetz fixed-point theorem;
the box is contractible). A sum that is not 1 proves that points are missing; a sum of 1 does not
prove that none are: missing points may cancel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynprobe.dynamics.maps import Map

#: An eigenvalue of J closer to 1 than this leaves the sign of det(I - J) open.
ROUNDING = 1e-8


@dataclass(frozen=True)
class Completeness:
    """What was checked of one condition, and what came out.

    Attributes
    ----------
    condition : str
        The input held.
    index_sum : int or None
        Sum of the signs; None where it is not defined.
    verdict : {"consistent", "incomplete", "undetermined", "not applicable"}
        Whether the sum is 1, is not, could not be told, or means nothing here.
    reason : str
        Why, in a sentence.
    rounds : int
        Further rounds of seeds that were tried because the sum was not 1.
    """

    condition: str
    index_sum: int | None
    verdict: str
    reason: str
    rounds: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))

    def __str__(self) -> str:
        total = "" if self.index_sum is None else f" (index sum {self.index_sum})"
        return f"{self.condition}: {self.verdict}{total}: {self.reason}"


def check_completeness(
    system: Map, states: Tensor, x: Tensor, condition: str, *, isolated: bool, rounds: int = 0
) -> Completeness:
    """Sum the indices of the fixed points found under one condition.

    Parameters
    ----------
    states : Tensor
        (points, state_dim), distinct certified fixed points, float64.
    x : Tensor
        (input_dim,), the input held.
    condition : str
        Its name.
    isolated : bool
        Whether every fixed point found is isolated, and no slow manifold was found.
    rounds : int
        Rounds of further seeds that were tried.

    Returns
    -------
    Completeness
    """

    def verdict(total: int | None, word: str, reason: str) -> Completeness:
        return Completeness(condition, total, word, reason, rounds)

    if system.bound(x[None].to(system.device)) is None:
        reason = "no box is known that the map takes into itself"
        return verdict(None, "not applicable", reason)
    if not isolated:
        reason = "points lie on a continuum, where det(I - J) is 0"
        return verdict(None, "not applicable", reason)
    if len(states) == 0:
        return verdict(0, "incomplete", "a map of a box into itself has a fixed point")
    at = states.to(system.device)
    eigenvalues = torch.linalg.eigvals(system.jacobian(at, x.to(at).expand(len(at), -1)))
    away = (eigenvalues - 1).abs()
    if bool((away <= ROUNDING).any()):
        reason = "an eigenvalue is 1 up to rounding, and its sign is open"
        return verdict(None, "undetermined", reason)
    # complex eigenvalues come in pairs with a positive product
    beyond = ((eigenvalues.imag == 0) & (eigenvalues.real > 1)).sum(1)
    total = int((1 - 2 * (beyond % 2)).sum())
    if total == 1:
        reason = "no point is known to be missing (missing points may cancel)"
        return verdict(1, "consistent", reason)
    return verdict(total, "incomplete", "the sum over all fixed points is 1, so some are missing")
