"""A uniform sample of the states of a run, small enough to keep."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dynprobe.analyzers.base import Context, StreamingAnalyzer
from dynprobe.analyzers.results import Result
from dynprobe.analyzers.state_sample import StateSample
from dynprobe.recording import Recording, RecordingMeta


@dataclass(frozen=True)
class SampledStatesResult(Result):
    """Visited states, each as likely as any other.

    Attributes
    ----------
    seen : int
        How many they were drawn from.
    states : Tensor
        (sampled, state_dim), float64; the first m of them are a uniform sample of m, so they are
        seeds for a search.
    sequences : Tensor
        (sampled,), equal for states of one sequence.
    """

    seen: int
    states: Tensor
    sequences: Tensor

    def summary(self) -> list[tuple[str, str]]:
        """Rows for the report."""
        return [("states", f"{len(self.states):,} of {self.seen:,}")]


class SampledStates(StreamingAnalyzer):
    """The states with the smallest keys, made of their own bits: merging is exact.

    Parameters
    ----------
    size : int
        How many are kept.
    """

    name = "sampled_states"
    requires = frozenset({"kept"})

    def __init__(self, size: int = 1000) -> None:
        self.size = size

    def init(self, meta: RecordingMeta) -> StateSample:
        return StateSample.empty(self.size, meta.store.width(meta.layout.size))

    def update(self, acc: StateSample, chunk: Recording) -> StateSample:
        return acc.add_visited(chunk)

    def merge(self, a: StateSample, b: StateSample) -> StateSample:
        return a.merge(b)

    def finalize(self, acc: StateSample, ctx: Context) -> SampledStatesResult:
        return SampledStatesResult(acc.rows.seen, acc.states, acc.sequences)
