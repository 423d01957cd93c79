"""Checks for authors of analyzers and recurrences, and systems with known answers."""

from dynprobe.testing.analyzer_checks import analyzer_checks, check_analyzer
from dynprobe.testing.attractors import (
    Continuum,
    LimitCycle,
    limit_cycle,
    line_attractor,
    plane_attractor,
)
from dynprobe.testing.check import Check
from dynprobe.testing.recurrence_checks import check_recurrence, recurrence_checks
from dynprobe.testing.samples import Sample
from dynprobe.testing.selective import SelectiveRecurrence, gated_linear
from dynprobe.testing.systems import (
    linear_system,
    planted_network,
    ring_attractor,
    ring_states,
)

__all__ = [
    "Check",
    "Continuum",
    "LimitCycle",
    "Sample",
    "SelectiveRecurrence",
    "analyzer_checks",
    "check_analyzer",
    "check_recurrence",
    "gated_linear",
    "limit_cycle",
    "line_attractor",
    "linear_system",
    "plane_attractor",
    "planted_network",
    "recurrence_checks",
    "ring_attractor",
    "ring_states",
]
