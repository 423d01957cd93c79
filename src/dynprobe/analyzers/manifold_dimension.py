"""How many dimensions the states use."""

from __future__ import annotations

from dataclasses import dataclass

from dynprobe.analyzers.base import Context, StreamingAnalyzer
from dynprobe.analyzers.cloud_dimension import CloudDimension, cloud_dimension
from dynprobe.analyzers.results import Result
from dynprobe.analyzers.state_sample import StateSample
from dynprobe.geometry.moments import Moments
from dynprobe.recording import Recording, RecordingMeta


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


@dataclass(frozen=True)
class Cloud:
    """States seen so far: the moments of all, and a sample of them."""

    moments: Moments
    sample: StateSample

    def merge(self, other: Cloud) -> Cloud:
        """Both together."""
        return Cloud(self.moments.merge(other.moments), self.sample.merge(other.sample))

    def dimension(self, n_classes: int | None, seed: int) -> CloudDimension:
        """What is measured of it."""
        states, sequences = self.sample.states, self.sample.sequences
        return cloud_dimension(self.moments, n_classes, states, sequences, seed=seed)


@dataclass(frozen=True)
class Clouds:
    """The accumulator: visited and final states, and the largest label, -1 without labels."""

    visited: Cloud
    final: Cloud
    largest_label: int = -1


class ManifoldDimension(StreamingAnalyzer):
    """PCA of visited and of final states, from running moments in float64.

    Parameters
    ----------
    sample : int
        How many states of each kind are kept for the interval and for the null.
    single : bool
        Products of float32 states in float32, for long runs: see
        :meth:`dynprobe.geometry.moments.Moments.of`.
    """

    name = "manifold_dimension"
    requires = frozenset({"kept"})

    def __init__(self, sample: int = 1000, *, single: bool = False) -> None:
        self.sample = sample
        self.single = single

    def init(self, meta: RecordingMeta) -> Clouds:
        size = meta.layout.size
        empty = Cloud(Moments.empty(size), StateSample.empty(self.sample, size))
        return Clouds(empty, empty)

    def update(self, acc: Clouds, chunk: Recording) -> Clouds:
        ended = (chunk.lengths > 0).to(chunk.final.device)
        visited, final = acc.visited, acc.final
        of_visited = Moments.of(chunk.flat(), single=self.single)
        of_final = Moments.of(chunk.final[ended], single=self.single)
        return Clouds(
            Cloud(visited.moments.merge(of_visited), visited.sample.add_visited(chunk)),
            Cloud(final.moments.merge(of_final), final.sample.add_final(chunk)),
            max(acc.largest_label, _largest_label(chunk)),
        )

    def merge(self, a: Clouds, b: Clouds) -> Clouds:
        largest = max(a.largest_label, b.largest_label)
        return Clouds(a.visited.merge(b.visited), a.final.merge(b.final), largest)

    def finalize(self, acc: Clouds, ctx: Context) -> ManifoldDimensionResult:
        n_classes = _n_classes(ctx, acc.largest_label)
        return ManifoldDimensionResult(
            visited=acc.visited.dimension(n_classes, ctx.seed),
            final=(
                acc.final.dimension(n_classes, ctx.seed) if acc.final.moments.count > 1 else None
            ),
            n_classes=n_classes,
        )


def _largest_label(chunk: Recording) -> int:
    labels = chunk.labels
    if labels is None or labels.is_floating_point() or labels.numel() == 0:
        return -1
    return int(labels.max())


def _n_classes(ctx: Context, largest_label: int) -> int | None:
    """Number of classes: from the readout, the class names, the logits or the labels."""
    if ctx.has("readout"):
        n = ctx.readout.n_classes
    elif ctx.recording.meta.classes is not None:
        n = len(ctx.recording.meta.classes)
    elif (logits := ctx.recording[:1].logits) is not None:
        n = logits.shape[-1]
    elif largest_label >= 0:
        n = largest_label + 1
    else:
        return None
    return max(n, 2)  # one logit tells two classes apart
