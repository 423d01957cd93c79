"""The dimension of the visited states as a function of the scale at which one looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dynprobe.analyzers.base import Context, StreamingAnalyzer
from dynprobe.analyzers.cloud_dimension import CloudDimension
from dynprobe.analyzers.manifold_dimension import ManifoldDimensionResult
from dynprobe.analyzers.results import Result
from dynprobe.analyzers.state_sample import StateSample
from dynprobe.recording import Recording, RecordingMeta

if TYPE_CHECKING:
    from dynprobe.dimension.scales import Scales


@dataclass(frozen=True)
class DimensionScaleResult(Result):
    """Curves of dimension against neighbourhood size, beside the linear dimension.

    Attributes
    ----------
    scales : Scales
        The curves; empty, with a note that says why, where the states are too few or too alike.
    linear : CloudDimension
        That of all visited states, from the analyzer `manifold_dimension`.
    n_classes : int or None
        N, where it is known.
    """

    scales: Scales
    linear: CloudDimension
    n_classes: int | None


class DimensionScale(StreamingAnalyzer):
    """GRIDE, maximum likelihood and local PCA at 2, 4, 8, ... neighbours, on one exact graph.

    The sample is thin on purpose: with every state of few sequences, the nearest neighbours of a
    state are those before and after it, and a dimension of 1 is that of the path.

    Parameters
    ----------
    sample : int
        How many states are kept; time grows with the square.
    """

    name = "dimension_scale"
    requires = frozenset({"kept"})

    def __init__(self, sample: int = 2000) -> None:
        self.sample = sample

    def init(self, meta: RecordingMeta) -> StateSample:
        return StateSample.empty(self.sample, meta.layout.size)

    def update(self, acc: StateSample, chunk: Recording) -> StateSample:
        return acc.add_visited(chunk)

    def merge(self, a: StateSample, b: StateSample) -> StateSample:
        return a.merge(b)

    def finalize(self, acc: StateSample, ctx: Context) -> DimensionScaleResult:
        # here, because estimators load scikit-learn
        from dynprobe.dimension.scales import dimension_scales

        whole: ManifoldDimensionResult = ctx.result("manifold_dimension")
        return DimensionScaleResult(
            scales=dimension_scales(acc.states, progress=ctx.progress),
            linear=whole.visited,
            n_classes=whole.n_classes,
        )
