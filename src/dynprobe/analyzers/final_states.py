"""Where sequences end: final states, all together and by label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.answers import IGNORED
from dynprobe.analyzers.base import Context, StreamingAnalyzer
from dynprobe.analyzers.results import Result
from dynprobe.recording import Recording, RecordingMeta

#: Of final states without a label, or with several.
_NO_LABEL = -1


@dataclass(frozen=True)
class FinalStatesResult(Result):
    """Statistics of the last valid state of each sequence.

    Attributes
    ----------
    count : int
        Number of sequences.
    mean, std : Tensor
        (state_dim,) of all of them.
    labels : tuple of int
        Labels that occurred; empty where sequences have none, or several at once.
    counts : Tensor
        (labels,) sequences of each.
    means : Tensor
        (labels, state_dim), mean final state of each label.
    between : float
        Share of the variance of final states that lies between the means of the labels; NaN
        without labels or variance.
    """

    count: int
    mean: Tensor
    std: Tensor
    labels: tuple[int, ...]
    counts: Tensor
    means: Tensor
    between: float

    def summary(self) -> list[tuple[str, str]]:
        """Rows for the report."""
        rows = [("sequences", f"{self.count:,}"), ("spread", f"{float(self.std.norm()):.3g}")]
        if not math.isnan(self.between):
            share = f"{self.between:.1%} of the variance of final states"
            rows.append((f"between the means of {len(self.labels)} labels", share))
        return rows


@dataclass(frozen=True)
class Spread:
    """Count, mean, and squares about it, of points coordinate by coordinate, in float64.

    The diagonal of :class:`dynprobe.geometry.moments.Moments`: one for each label would otherwise
    take state_dim squared numbers.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, points: Tensor) -> Spread:
        """Of (count, n) points."""
        x = points.detach().to("cpu", torch.float64)
        mean = x.mean(0) if len(x) else x.new_zeros(x.shape[1])
        return cls(len(x), mean, (x - mean).square().sum(0))

    def merge(self, other: Spread) -> Spread:
        """Of both sets together (Chan, Golub & LeVeque 1983)."""
        count = self.count + other.count
        if self.count == 0 or other.count == 0:
            return self if other.count == 0 else other
        shift = other.mean - self.mean
        return Spread(
            count,
            self.mean + shift * (other.count / count),
            self.squares + other.squares + shift.square() * (self.count * other.count / count),
        )


#: Spreads by label.
_ByLabel = Mapping[int, Spread]


class FinalStates(StreamingAnalyzer):
    """Running moments of final states for each label; all of them together follow from these."""

    name = "final_states"
    requires = frozenset({"kept"})

    def init(self, meta: RecordingMeta) -> _ByLabel:
        return {}

    def update(self, acc: _ByLabel, chunk: Recording) -> _ByLabel:
        ended = chunk.lengths > 0
        states = chunk.final[ended.to(chunk.final.device)]
        labels = _labels(chunk)[ended]
        found = {int(c): Spread.of(states[labels.to(states.device) == c]) for c in labels.unique()}
        return self.merge(acc, found)

    def merge(self, a: _ByLabel, b: _ByLabel) -> _ByLabel:
        return {
            label: a[label].merge(b[label]) if label in a and label in b else {**a, **b}[label]
            for label in sorted({**a, **b})
        }

    def finalize(self, acc: _ByLabel, ctx: Context) -> FinalStatesResult:
        meta = ctx.recording.meta
        state_dim = meta.store.width(meta.layout.size)
        nothing = Spread.of(torch.zeros(0, state_dim))
        labels = tuple(label for label in sorted(acc) if label != _NO_LABEL)
        labelled = nothing
        for label in labels:
            labelled = labelled.merge(acc[label])
        whole = labelled.merge(acc.get(_NO_LABEL, nothing))
        total = float(labelled.squares.sum())
        within = sum(float(acc[label].squares.sum()) for label in labels)
        known = bool(labels) and total > 0
        return FinalStatesResult(
            count=whole.count,
            mean=whole.mean,
            std=(whole.squares / max(whole.count - 1, 1)).sqrt(),
            labels=labels,
            counts=torch.tensor([acc[label].count for label in labels], dtype=torch.int64),
            means=torch.stack([acc[label].mean for label in labels])
            if labels
            else torch.zeros(0, state_dim, dtype=torch.float64),
            between=1 - within / total if known else math.nan,
        )


def _labels(rec: Recording) -> Tensor:
    """(sequences,), one label for each."""
    labels = rec.labels
    if labels is None or labels.dim() != 1 or labels.is_floating_point():
        return torch.full((len(rec),), _NO_LABEL, dtype=torch.int64)
    found = labels.to("cpu", torch.int64)
    return torch.where(found == IGNORED, _NO_LABEL, found)
