"""What the training of a stack leaves behind besides the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dynprobe.study.settling import Check


@dataclass(frozen=True)
class StackLog:
    """The course of one training run of several networks.

    Attributes
    ----------
    losses
        Of each member, the loss of each step, the L2 term included.
    steps_planned
        Largest number of steps.
    seconds
        Wall-clock time, of all parts of a run that was resumed.
    seeds, l2
        Of each member.
    checks
        Of each member, its evaluations in order; empty where no rule asked for them.
    settled_at
        Of each member, the first check at which it had settled, or None.
    interrupted
        Whether the user stopped the run.
    """

    losses: tuple[tuple[float, ...], ...]
    steps_planned: int
    seconds: float
    seeds: tuple[int, ...]
    l2: tuple[float, ...]
    checks: tuple[tuple[Check, ...], ...]
    settled_at: tuple[int | None, ...]
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """Steps that were done."""
        return len(self.losses[0]) if self.losses else 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, ready for JSON."""
        return asdict(self)
