"""What a training run leaves behind besides the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Progress = Callable[[int, int, float], None]
"""Called after each step with (steps done, steps planned, that step's loss)."""


@dataclass(frozen=True)
class TrainingLog:
    """The course of one training run.

    Attributes
    ----------
    losses
        Loss of each step, the L2 term included.
    steps_planned
        Number of steps asked for; more than ``len(losses)`` if interrupted.
    seconds
        Wall-clock time.
    seed
        The run's seed.
    interrupted
        Whether the user stopped the run.
    validation_accuracy
        Accuracy after each whole epoch; empty where data is drawn afresh.
    best_epoch
        Index of the epoch whose weights were kept, or None.
    """

    losses: tuple[float, ...]
    steps_planned: int
    seconds: float
    seed: int
    interrupted: bool = False
    validation_accuracy: tuple[float, ...] = ()
    best_epoch: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, ready for JSON."""
        return asdict(self)
