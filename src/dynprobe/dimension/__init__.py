"""Dimension of point clouds: estimators in the manner of scikit-learn over one neighbour graph.

>>> import torch
>>> from dynprobe.dimension import MLE, CorrelationDimension, NeighborGraph
>>> points = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
>>> graph = NeighborGraph.of(points, 20)
>>> [round(e.fit(graph).dimension_, 1) for e in (MLE(), CorrelationDimension())]
[2.0, 2.0]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dynprobe.dimension.spectrum import components_for, participation_ratio

if TYPE_CHECKING:
    from dynprobe.dimension.correlation import CorrelationDimension
    from dynprobe.dimension.mle import MLE
    from dynprobe.dimension.neighbors import NeighborGraph

# Estimators load scikit-learn; the rest of the library needs the two functions alone.
_LAZY = {
    "CorrelationDimension": "dynprobe.dimension.correlation",
    "MLE": "dynprobe.dimension.mle",
    "NeighborGraph": "dynprobe.dimension.neighbors",
}

__all__ = [
    "MLE",
    "CorrelationDimension",
    "NeighborGraph",
    "components_for",
    "participation_ratio",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dynprobe.dimension' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
