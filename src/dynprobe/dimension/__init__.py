"""Dimension of point clouds: estimators in the manner of scikit-learn over one neighbour graph.

>>> import torch
>>> from dynprobe.dimension import MLE, CorrelationDimension, NeighborGraph
>>> points = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0))
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
    from dynprobe.dimension.correlation_slope import correlation_slope
    from dynprobe.dimension.fisher import FisherS
    from dynprobe.dimension.gride import GRIDE
    from dynprobe.dimension.linear import ParticipationRatio, VarianceThreshold
    from dynprobe.dimension.local_pca import LocalPCA
    from dynprobe.dimension.mada import MADA
    from dynprobe.dimension.mle import MLE
    from dynprobe.dimension.mom import MOM
    from dynprobe.dimension.neighbors import NeighborGraph
    from dynprobe.dimension.parallel_analysis import ParallelAnalysis
    from dynprobe.dimension.tle import TLE
    from dynprobe.dimension.two_nn import TwoNN

# Estimators load scikit-learn; the rest of the library needs the two functions alone.
_LAZY = {
    "CorrelationDimension": "dynprobe.dimension.correlation",
    "FisherS": "dynprobe.dimension.fisher",
    "GRIDE": "dynprobe.dimension.gride",
    "LocalPCA": "dynprobe.dimension.local_pca",
    "MADA": "dynprobe.dimension.mada",
    "MLE": "dynprobe.dimension.mle",
    "MOM": "dynprobe.dimension.mom",
    "NeighborGraph": "dynprobe.dimension.neighbors",
    "ParallelAnalysis": "dynprobe.dimension.parallel_analysis",
    "ParticipationRatio": "dynprobe.dimension.linear",
    "TLE": "dynprobe.dimension.tle",
    "TwoNN": "dynprobe.dimension.two_nn",
    "VarianceThreshold": "dynprobe.dimension.linear",
    "correlation_slope": "dynprobe.dimension.correlation_slope",
}

__all__ = [
    "GRIDE",
    "MADA",
    "MLE",
    "MOM",
    "TLE",
    "CorrelationDimension",
    "FisherS",
    "LocalPCA",
    "NeighborGraph",
    "ParallelAnalysis",
    "ParticipationRatio",
    "TwoNN",
    "VarianceThreshold",
    "components_for",
    "correlation_slope",
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
