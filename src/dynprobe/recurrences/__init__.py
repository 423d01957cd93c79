"""Recurrences: what is the state of a module, what is its step, how its states are recovered."""

from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.function import as_recurrence
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.observer import Call, Observer, Segment
from dynprobe.recurrences.registry import find_observer, register_recurrence

__all__ = [
    "Call",
    "Layout",
    "Observer",
    "Recurrence",
    "Segment",
    "as_recurrence",
    "find_observer",
    "register_recurrence",
]
