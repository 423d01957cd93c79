"""dynprobe: see what a recurrent or linear-attention model computes.

>>> import torch, dynprobe
>>> model = torch.nn.GRU(4, 8, batch_first=True)
>>> with dynprobe.attach(model) as probe:
...     _ = model(torch.randn(3, 5, 4))
>>> probe.recording()
Recording('gru': 3 sequences, 15 states of [h: 8], with inputs)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynprobe import callbacks, dimension, distributed, errors, nn, similarity, tasks, testing
    from dynprobe.analysis import analyze
    from dynprobe.analyzers.base import Analyzer, Context, StreamingAnalyzer
    from dynprobe.analyzers.registry import register_analyzer
    from dynprobe.capture.stream import Stream
    from dynprobe.comparison.run import compare
    from dynprobe.dynamics.attraction import attraction
    from dynprobe.dynamics.branches import Branch, Branches
    from dynprobe.dynamics.certificate import Status
    from dynprobe.dynamics.continuation import continue_fixed_points
    from dynprobe.dynamics.fixed_points import FixedPoints
    from dynprobe.dynamics.linearization import Linearization, linearize
    from dynprobe.dynamics.orbits import PeriodicOrbits
    from dynprobe.dynamics.periodic import find_periodic_points
    from dynprobe.dynamics.pushes import Attraction
    from dynprobe.dynamics.search import find_fixed_points
    from dynprobe.errors import DynprobeError
    from dynprobe.loading import load
    from dynprobe.probe import Probe, attach
    from dynprobe.readout import Readout
    from dynprobe.recording import Recording
    from dynprobe.recurrences import (
        Layout,
        Observer,
        Recurrence,
        as_recurrence,
        register_recurrence,
    )
    from dynprobe.report import Report
    from dynprobe.report.comparison import Comparison
    from dynprobe.report.draw import draw
    from dynprobe.shards.recorder import Recorder
    from dynprobe.store import Store
    from dynprobe.streaming.accumulation import Accumulation

__version__ = "0.1.0.dev0"

# Public name -> where it lives. Imported on first use: `import dynprobe` costs torch and no more.
_LAZY = {
    "Accumulation": "dynprobe.streaming.accumulation",
    "Analyzer": "dynprobe.analyzers.base",
    "Attraction": "dynprobe.dynamics.pushes",
    "Branch": "dynprobe.dynamics.branches",
    "Branches": "dynprobe.dynamics.branches",
    "Comparison": "dynprobe.report.comparison",
    "Context": "dynprobe.analyzers.base",
    "DynprobeError": "dynprobe.errors",
    "FixedPoints": "dynprobe.dynamics.fixed_points",
    "Layout": "dynprobe.recurrences",
    "Linearization": "dynprobe.dynamics.linearization",
    "Observer": "dynprobe.recurrences",
    "PeriodicOrbits": "dynprobe.dynamics.orbits",
    "Probe": "dynprobe.probe",
    "Readout": "dynprobe.readout",
    "Recorder": "dynprobe.shards.recorder",
    "Recording": "dynprobe.recording",
    "Recurrence": "dynprobe.recurrences",
    "Report": "dynprobe.report",
    "Status": "dynprobe.dynamics.certificate",
    "Store": "dynprobe.store",
    "Stream": "dynprobe.capture.stream",
    "StreamingAnalyzer": "dynprobe.analyzers.base",
    "analyze": "dynprobe.analysis",
    "as_recurrence": "dynprobe.recurrences",
    "attach": "dynprobe.probe",
    "attraction": "dynprobe.dynamics.attraction",
    "compare": "dynprobe.comparison.run",
    "continue_fixed_points": "dynprobe.dynamics.continuation",
    "draw": "dynprobe.report.draw",
    "find_fixed_points": "dynprobe.dynamics.search",
    "find_periodic_points": "dynprobe.dynamics.periodic",
    "linearize": "dynprobe.dynamics.linearization",
    "load": "dynprobe.loading",
    "register_analyzer": "dynprobe.analyzers.registry",
    "register_recurrence": "dynprobe.recurrences",
}
_NAMESPACES = (
    "callbacks",
    "dimension",
    "distributed",
    "errors",
    "nn",
    "similarity",
    "tasks",
    "testing",
)

__all__ = [
    "Accumulation",
    "Analyzer",
    "Attraction",
    "Branch",
    "Branches",
    "Comparison",
    "Context",
    "DynprobeError",
    "FixedPoints",
    "Layout",
    "Linearization",
    "Observer",
    "PeriodicOrbits",
    "Probe",
    "Readout",
    "Recorder",
    "Recording",
    "Recurrence",
    "Report",
    "Status",
    "Store",
    "Stream",
    "StreamingAnalyzer",
    "__version__",
    "analyze",
    "as_recurrence",
    "attach",
    "attraction",
    "callbacks",
    "compare",
    "continue_fixed_points",
    "dimension",
    "distributed",
    "draw",
    "errors",
    "find_fixed_points",
    "find_periodic_points",
    "linearize",
    "load",
    "nn",
    "register_analyzer",
    "register_recurrence",
    "similarity",
    "tasks",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES:
        return importlib.import_module(f"dynprobe.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'dynprobe' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
