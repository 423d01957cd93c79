"""What is kept of one recurrence while states go by: an accumulator for each analyzer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dynprobe.analysis import failure_of
from dynprobe.analyzers.base import Context, StreamingAnalyzer
from dynprobe.errors import DynprobeError
from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.recurrences.base import Recurrence
from dynprobe.report import Failure
from dynprobe.streaming.opening import with_more

Analyzers = Mapping[str, StreamingAnalyzer]


@dataclass(frozen=True)
class Accumulators:
    """Accumulators of one recurrence, by analyzer, and what else a report needs.

    Attributes
    ----------
    values : dict
        Accumulators by the names of their analyzers.
    skipped, failures : dict
        Why an analyzer has none.
    opening : Recording or None
        The first sequences; None before there was any.
    sequences, states : int
        How many went by.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    opening: Recording | None = None
    sequences: int = 0
    states: int = 0

    def update(
        self,
        chunk: Recording,
        analyzers: Analyzers,
        recurrence: Recurrence | None,
        readout: Readout | str,
    ) -> Accumulators:
        """The accumulators after one more batch; an analyzer that fails costs only itself."""
        if int(chunk.lengths.sum()) == 0:  # such as a batch too short for every k-th state
            return self
        values, failures = dict(self.values), dict(self.failures)
        skipped = dict(self.skipped)
        ctx = Context(
            recording=chunk,
            layer=chunk.layer,
            seed=0,
            progress=lambda done, total: None,
            _recurrence=recurrence,
            _readout=readout,
            _result=lambda name: None,
        )
        for name, analyzer in analyzers.items():
            if name in failures or name in skipped:
                continue
            missing = [ctx.missing(r) for r in sorted(analyzer.requires) if not ctx.has(r)]
            if missing:  # perhaps of a later batch only: half a run is no result
                skipped[name] = "; ".join(missing)
                values.pop(name, None)
                continue
            try:
                before = values[name] if name in values else analyzer.init(chunk.meta)
                values[name] = analyzer.update(before, chunk)
            except Exception as error:
                failures[name] = failure_of(name, analyzer, error)
                values.pop(name, None)
        return replace(
            self,
            values=values,
            skipped=skipped,
            failures=failures,
            opening=with_more(self.opening, chunk),
            sequences=self.sequences + len(chunk),
            states=self.states + int(chunk.lengths.sum()),
        )

    def merge(self, other: Accumulators, analyzers: Analyzers) -> Accumulators:
        """The accumulators of two disjoint runs, such as those of two ranks."""
        failures = {**other.failures, **self.failures}
        skipped = {**other.skipped, **self.skipped}
        values: dict[str, Any] = {}
        for name, analyzer in analyzers.items():
            given = [a.values[name] for a in (self, other) if name in a.values]
            if name in failures or name in skipped or not given:
                continue
            try:
                values[name] = given[0] if len(given) == 1 else analyzer.merge(*given)
            except Exception as error:
                failures[name] = failure_of(name, analyzer, error)
        opening = self.opening
        if other.opening is not None:
            opening = with_more(opening, other.opening)
        return Accumulators(
            values,
            skipped,
            failures,
            opening,
            self.sequences + other.sequences,
            self.states + other.states,
        )

    def portable(self, rank: int) -> Accumulators:
        """The same with failures that another process can read: their texts."""
        failures = {
            name: Failure(DynprobeError(f"on rank {rank}: {f}"), f.traceback, f.source)
            for name, f in self.failures.items()
        }
        return replace(self, failures=failures)
