"""How many dimensions the states use."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dynprobe.analyzers.base import Context, StreamingAnalyzer
from dynprobe.analyzers.results import Result
from dynprobe.dimension.spectrum import components_for, participation_ratio
from dynprobe.geometry.moments import Moments
from dynprobe.recording import Recording, RecordingMeta


@dataclass(frozen=True)
class CloudDimension(Result):
    """Linear dimension of one cloud of states.

    Attributes
    ----------
    count : int
        Number of states.
    participation_ratio : float
        (sum v)^2 / sum v^2 of the variances v.
    components_90, components_95 : int
        Principal components that hold 90 % and 95 % of the variance.
    components_simplex : int or None
        Components that hold N / (N + 1) of the variance, N the number of classes (the threshold
        of Aitken et al. 2020); None where the number of classes is unknown.
    variance_ratio : Tensor
        (state_dim,), share of each component, largest first.
    components : Tensor
        (state_dim, state_dim), principal components as rows.
    mean : Tensor
        (state_dim,).
    """

    count: int
    participation_ratio: float
    components_90: int
    components_95: int
    components_simplex: int | None
    variance_ratio: Tensor
    components: Tensor
    mean: Tensor


@dataclass(frozen=True)
class ManifoldDimensionResult(Result):
    """Dimension of the visited states (every valid step) and of the final states.

    `participation_ratio` and the like are those of the visited states.
    """

    visited: CloudDimension
    final: CloudDimension | None
    n_classes: int | None

    @property
    def participation_ratio(self) -> float:
        """Participation ratio of the visited states."""
        return self.visited.participation_ratio

    @property
    def components_95(self) -> int:
        """Components that hold 95 % of the variance of the visited states."""
        return self.visited.components_95


class ManifoldDimension(StreamingAnalyzer):
    """PCA of visited and of final states, from running moments in float64."""

    name = "manifold_dimension"
    requires = frozenset({"kept"})

    def init(self, meta: RecordingMeta) -> tuple[Moments, Moments]:
        empty = Moments.empty(meta.layout.size)
        return empty, empty

    def update(self, acc: tuple[Moments, Moments], chunk: Recording) -> tuple[Moments, Moments]:
        visited, final = acc
        ended = chunk.lengths > 0
        return (
            visited.merge(Moments.of(chunk.flat())),
            final.merge(Moments.of(chunk.final[ended.to(chunk.final.device)])),
        )

    def merge(
        self, a: tuple[Moments, Moments], b: tuple[Moments, Moments]
    ) -> tuple[Moments, Moments]:
        return a[0].merge(b[0]), a[1].merge(b[1])

    def finalize(self, acc: tuple[Moments, Moments], ctx: Context) -> ManifoldDimensionResult:
        visited, final = acc
        n_classes = _n_classes(ctx)
        return ManifoldDimensionResult(
            visited=_dimension(visited, n_classes),
            final=_dimension(final, n_classes) if final.count > 1 else None,
            n_classes=n_classes,
        )


def _n_classes(ctx: Context) -> int | None:
    """Number of classes: from the readout, the class names, the logits or the labels."""
    if ctx.has("readout"):
        n = ctx.readout.n_classes
    elif ctx.recording.meta.classes is not None:
        n = len(ctx.recording.meta.classes)
    elif ctx.recording.logits is not None:
        n = ctx.recording.logits.shape[-1]
    elif ctx.recording.labels is not None and not ctx.recording.labels.is_floating_point():
        n = int(ctx.recording.labels.max()) + 1
    else:
        return None
    return max(n, 2)  # one logit tells two classes apart


def _dimension(moments: Moments, n_classes: int | None) -> CloudDimension:
    variances, components = moments.principal_components()
    return CloudDimension(
        count=moments.count,
        participation_ratio=participation_ratio(variances),
        components_90=components_for(variances, 0.90),
        components_95=components_for(variances, 0.95),
        components_simplex=(
            None if n_classes is None else components_for(variances, n_classes / (n_classes + 1))
        ),
        variance_ratio=variances / variances.sum(),
        components=components,
        mean=moments.mean,
    )
