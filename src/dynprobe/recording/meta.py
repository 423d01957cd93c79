"""What is true of every batch of a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from dynprobe.errors import ParameterError
from dynprobe.recurrences.layout import Layout
from dynprobe.store import Store


@dataclass(frozen=True)
class RecordingMeta:
    """What is true of every batch of a recording.

    Attributes
    ----------
    layer : str
        Key of the recurrence.
    layout : Layout
        Parts of the state.
    vocabulary, classes : tuple of str or None
        Names of tokens by id and of classes by label.
    dt, unit : float, str
        Length of one step, for time constants.
    notes : tuple of str
        How lengths, tokens and sequences were found.
    store : Store
        What was kept of the states.

    Raises
    ------
    ParameterError
        If `dt` is not a positive number.
    """

    layer: str
    layout: Layout
    vocabulary: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    dt: float = 1.0
    unit: str = "steps"
    notes: tuple[str, ...] = ()
    store: Store = field(default_factory=Store)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dt", step_length(self.dt))


def step_length(dt: Any) -> float:
    """The length of a step as a number, also where an array of one is given.

    Raises
    ------
    ParameterError
        If it is not positive.
    """
    try:
        length = float(dt)
    except (TypeError, ValueError, RuntimeError):
        length = math.nan
    if not 0 < length < math.inf:
        raise ParameterError(
            f"dt={dt!r} is not the length of a step: give a positive number, and its unit with "
            "unit=."
        )
    return length
