"""Analyzers fed by a probe while its model runs; no state is kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from dynprobe.analysis import AnalyzerChoice, Subject, choose, run_on
from dynprobe.analyzers.base import Analyzer, StreamingAnalyzer
from dynprobe.analyzers.finalized import Finalized
from dynprobe.analyzers.registry import BUILT_IN
from dynprobe.errors import DynprobeError, NothingRecordedError, PluginError
from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.recurrences.base import Recurrence
from dynprobe.report import Report
from dynprobe.streaming.accumulators import Accumulators
from dynprobe.streaming.opening import view_of_run

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class Source:
    """What an accumulation asks of its probe.

    Attributes
    ----------
    recurrence, version : callable
        Of a key: the map, and a fingerprint of its weights.
    readout : callable
        Of a key and a batch: the readout, or why there is none.
    unfinished : callable
        Batches that may still go on, by key.
    leave : callable
        Ends it.
    """

    recurrence: Callable[[str], Recurrence]
    version: Callable[[str], object]
    readout: Callable[[str, Recording], Readout | str]
    unfinished: Callable[[Accumulation], Sequence[tuple[str, Recording]]]
    leave: Callable[[Accumulation], None]


class Accumulation:
    """Running analyses of a probe; made by :meth:`dynprobe.Probe.accumulate`.

    Its memory does not depend on how many tokens went by: of the states themselves it keeps the
    first few thousand, for the figures.
    """

    def __init__(
        self,
        analyzers: Sequence[AnalyzerChoice] | None,
        keys: Sequence[str],
        source: Source,
    ) -> None:
        self.keys = frozenset(keys)
        self._order = tuple(keys)
        self._analyzers, self._broken = _streaming(analyzers)
        self._source = source
        self._kept: dict[str, Accumulators] = {}
        self._errors: dict[str, Exception] = {}
        self._versions: dict[str, object] = {}

    # -- what the probe calls ----------------------------------------------------------------

    def take(self, key: str, chunk: Recording, *, ended: bool) -> None:
        """Feed a batch to every analyzer; nothing happens before its sequences have ended."""
        if not ended or key in self._errors:
            return
        try:
            self._kept[key] = self._fed(key, chunk)
        except DynprobeError as error:
            self.fail(key, error)
        self._versions.setdefault(key, self._source.version(key))

    def fail(self, key: str, error: Exception, *, cut: bool = False) -> None:
        """Note that a recurrence cannot be read; who asks for the report is told."""
        self._errors.setdefault(key, error)

    def _fed(self, key: str, chunk: Recording) -> Accumulators:
        kept = self._kept.get(key, Accumulators())
        if len(chunk) == 0:
            return kept
        chunk.check_finite()
        readout = self._source.readout(key, chunk)
        return kept.update(chunk, self._analyzers, self._source.recurrence(key), readout)

    # -- what a user calls -------------------------------------------------------------------

    def report(self, *, seed: int = 0, group: ProcessGroup | None = None) -> Report:
        """Results of everything that has gone by, also while the model still runs.

        Parameters
        ----------
        seed : int
            Seed of everything random in the analysis.
        group : ProcessGroup, optional
            Merge what the ranks of a torch.distributed job have seen, each its share:
            ``torch.distributed.group.WORLD``. Every rank must call it, and gets the same report.

        Returns
        -------
        Report
            As :meth:`dynprobe.Probe.analyze` gives it.

        Raises
        ------
        NothingRecordedError
            If no sequence has gone by.
        NonFiniteStatesError
            If a state held NaN or Inf.
        DynprobeError
            If states could not be read.
        """
        with torch.no_grad():
            kept, errors = self._so_far()
            if group is not None:
                kept, errors = self._of_all_ranks(kept, errors, group)
            for error in errors.values():
                raise error
            return self._report(kept, seed)

    def _so_far(self) -> tuple[dict[str, Accumulators], dict[str, Exception]]:
        """Accumulators with the batches that may still go on."""
        kept, errors = dict(self._kept), dict(self._errors)
        for key, chunk in self._source.unfinished(self):
            if key not in errors:
                try:
                    kept[key] = self._fed(key, chunk)
                except DynprobeError as error:
                    errors[key] = error
        return kept, errors

    def _of_all_ranks(
        self, kept: dict[str, Accumulators], errors: dict[str, Exception], group: ProcessGroup
    ) -> tuple[dict[str, Accumulators], dict[str, Exception]]:
        from dynprobe.distributed import gather

        rank = torch.distributed.get_rank(group)
        mine = (
            {key: value.portable(rank) for key, value in kept.items()},
            {key: f"rank {rank}: {type(e).__name__}: {e}" for key, e in errors.items()},
        )
        merged: dict[str, Accumulators] = {}
        failed: dict[str, Exception] = {}
        for values, problems in gather(mine, group):
            for key, value in values.items():
                before = merged.get(key, Accumulators())
                merged[key] = before.merge(value, self._analyzers)
            failed |= {key: DynprobeError(text) for key, text in problems.items()}
        return merged, failed

    def _report(self, kept: dict[str, Accumulators], seed: int) -> Report:
        seen = {key: kept[key] for key in self._order if key in kept and kept[key].states}
        if not seen:
            raise NothingRecordedError(
                "No sequence has gone by yet. Call model(...) while the accumulation is open, "
                "then ask again."
            )
        report = Report(seed=seed)
        for key, accumulators in seen.items():
            opening = accumulators.opening
            assert opening is not None
            readout = self._source.readout(key, opening)
            report.views[key] = view_of_run(
                opening,
                readout,
                sequences=accumulators.sequences,
                states=accumulators.states,
                seed=seed,
            )
            subject = Subject(opening[:0], self._source.recurrence(key), readout, gone=True)
            run_on(subject, self._ready(accumulators), report)
            report.skipped |= {(n, key): why for n, why in accumulators.skipped.items()}
            report.failures |= {(n, key): f for n, f in accumulators.failures.items()}
            self._warn_if_stale(key)
        report.unused += [key for key in self._order if key not in seen]
        return report

    def _ready(self, accumulators: Accumulators) -> dict[str, Analyzer | PluginError]:
        ready: dict[str, Analyzer | PluginError] = dict(self._broken)
        for name, value in accumulators.values.items():
            ready[name] = Finalized(self._analyzers[name], _giving(value))
        return ready

    def _warn_if_stale(self, key: str) -> None:
        if key in self._versions and self._versions[key] != self._source.version(key):
            warnings.warn(
                f"The weights of {key!r} changed while its states went by: they are states of "
                "several maps. For a consistent picture let an evaluation run, not a training.",
                stacklevel=4,
            )

    def close(self) -> None:
        """End it: what has gone by stays, for :meth:`report`. Closing it again does nothing."""
        self._source.leave(self)

    def __enter__(self) -> Accumulation:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        seen = ", ".join(f"{key}: {a.states:,} states" for key, a in self._kept.items())
        return f"Accumulation({', '.join(self._analyzers)}; {seen or 'nothing yet'})"


def _giving(value: Any) -> Callable[[Recording], Any]:
    return lambda _: value


def _streaming(
    analyzers: Sequence[AnalyzerChoice] | None,
) -> tuple[dict[str, StreamingAnalyzer], dict[str, PluginError]]:
    """Instances by name, and broken plugins.

    Raises
    ------
    PluginError
        If one of them needs all states at once.
    """
    if not analyzers:
        loaded = {name: built_in.load() for name, built_in in BUILT_IN.items()}
        analyzers = [name for name, cls in loaded.items() if issubclass(cls, StreamingAnalyzer)]
    good: dict[str, StreamingAnalyzer] = {}
    broken: dict[str, PluginError] = {}
    for name, analyzer in choose(analyzers).items():
        if isinstance(analyzer, StreamingAnalyzer):
            good[name] = analyzer
        elif isinstance(analyzer, PluginError):
            broken[name] = analyzer
        else:
            raise PluginError(
                f"The analyzer {name!r} needs all states at once, and here none are kept: give "
                "analyzers that are a dynprobe.StreamingAnalyzer, or record with attach() and "
                "probe.analyze()."
            )
    return good, broken
