"""The dimension of a matrix memory whose states are kept as factors."""

from __future__ import annotations

from dataclasses import dataclass

from dynprobe.analyzers.base import Analyzer, Context


@dataclass(frozen=True)
class MemoryDimensionResult:
    """Participation ratio of all states of a rank-one recurrence."""

    participation_ratio: float


class MemoryDimension(Analyzer):
    """Linear dimension from the factors; no state is formed for it."""

    name = "memory_dimension"
    requires = frozenset({"factors"})

    def analyze(self, ctx: Context) -> MemoryDimensionResult:
        return MemoryDimensionResult(ctx.recording.participation_ratio(seed=ctx.seed))
