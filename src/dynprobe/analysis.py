"""Running analyzers: which, on what, in which order, and what happens when one fails."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.finalized import Finalized
from dynprobe.analyzers.registry import BUILT_IN, check_contract, find_analyzer
from dynprobe.errors import NothingRecordedError, PluginError
from dynprobe.plugins import source_of, warn_once
from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.recurrences.base import Recurrence
from dynprobe.report import Failure, Report
from dynprobe.report.view import view_of

AnalyzerChoice = str | Analyzer | type[Analyzer]
#: Called as progress(analyzer, layer, done, total) while an analyzer works.
Progress = Callable[[str, str, int, int], None]


@dataclass(frozen=True)
class Subject:
    """One layer to analyse: its states, its map if known, its readout or why there is none.

    Where the states have `gone` by, the recording holds no sequence.
    """

    recording: Recording
    recurrence: Recurrence | None
    readout: Readout | str
    gone: bool = False


def analyze(
    recording: Recording,
    analyzers: Sequence[AnalyzerChoice] | AnalyzerChoice | None = None,
    *,
    recurrence: Recurrence | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Analyse one recording without its model, or with a recurrence given.

    Parameters
    ----------
    recording : Recording
        Loaded, or made by :meth:`Recording.from_arrays`.
    analyzers : optional
        As in :meth:`Probe.analyze`; analyzers that need what is not there are skipped.
    recurrence : Recurrence, optional
        The map, from :func:`dynprobe.as_recurrence` or ``probe.recurrence()``.
    seed : int
        Seed of everything random.
    progress : callable, optional
        ``progress(analyzer, layer, done, total)``.
    """
    readout = recording.readout or "the recording has none"
    return analyze_subjects(
        [Subject(recording, recurrence, readout)], analyzers, seed=seed, progress=progress
    )


@torch.no_grad()
def analyze_subjects(
    subjects: Sequence[Subject],
    analyzers: Sequence[AnalyzerChoice] | AnalyzerChoice | None = None,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Run every analyzer on every subject; one that fails is reported beside the others."""
    chosen = choose(analyzers)
    for subject in subjects:
        if len(subject.recording) == 0 or int(subject.recording.lengths.sum()) == 0:
            raise NothingRecordedError(
                f"The recording of {subject.recording.layer!r} holds no valid step."
            )
        subject.recording.check_finite()
    report = Report(seed=seed)
    for subject in subjects:
        report.views[subject.recording.layer] = view_of(
            subject.recording, subject.readout, seed=seed
        )
        run_on(subject, chosen, report, progress=progress)
    return report


def run_on(
    subject: Subject,
    chosen: Mapping[str, Analyzer | PluginError],
    report: Report,
    *,
    progress: Progress | None = None,
) -> None:
    """Run analyzers on one subject and put what comes of it into the report."""
    run = _Run(subject, chosen, report.seed, progress, report)
    for name in chosen:
        if report.interrupted:
            report.skipped[name, subject.recording.layer] = "interrupted before it ran"
        else:
            run.attempt(name)


def choose(
    analyzers: Sequence[AnalyzerChoice] | AnalyzerChoice | None,
) -> dict[str, Analyzer | PluginError]:
    """Instances by name. A broken plugin is kept as its error; an unknown name raises."""
    if analyzers is None:
        analyzers = [name for name, built_in in BUILT_IN.items() if built_in.unasked]
    elif isinstance(analyzers, (str, Analyzer, type)):
        analyzers = [analyzers]
    chosen: dict[str, Analyzer | PluginError] = {}
    for item in analyzers:
        if isinstance(item, str):
            chosen[item] = _instance(item)
            continue
        cls = item if isinstance(item, type) else type(item)
        name = getattr(cls, "name", "") or cls.__name__.lower()
        check_contract(name, cls)
        if name in chosen:
            raise PluginError(
                f"The analyzer {name!r} is given twice; results are kept by name, so run the two "
                "one after the other, or give one of the classes another name."
            )
        chosen[name] = _made(name, item) if isinstance(item, type) else item
    return chosen


def _instance(name: str) -> Analyzer | PluginError:
    try:
        return _made(name, find_analyzer(name))
    except PluginError as error:
        return error


def _made(name: str, cls: type[Analyzer]) -> Analyzer:
    try:
        return cls()
    except Exception as error:
        raise PluginError(
            f"The analyzer {name!r}{_from(cls)} cannot be made without arguments: "
            f"{type(error).__name__}: {error}. Give every parameter of its __init__ a default, or "
            "pass an instance."
        ) from error


def _from(cls: type) -> str:
    """Which package a plugin is from, for messages."""
    source = source_of(cls)
    return f" (from {source})" if source else ""


class _Run:
    """Results of one subject, each analyzer computed once, also when another asks for it."""

    def __init__(
        self,
        subject: Subject,
        chosen: Mapping[str, Analyzer | PluginError],
        seed: int,
        progress: Progress | None,
        report: Report,
    ) -> None:
        self.subject = subject
        self.chosen = dict(chosen)
        self.seed = seed
        self.progress = progress
        self.report = report
        self.layer = subject.recording.layer
        self.running: list[str] = []
        self.done: dict[str, Any] = {}

    def attempt(self, name: str) -> None:
        """Run one analyzer and note the outcome."""
        key = (name, self.layer)
        try:
            self.report.results[key] = self.result(name)
        except _SkippedError as skip:
            self.report.skipped[key] = str(skip)
        except KeyboardInterrupt:
            self.report.interrupted = True
            self.report.skipped[key] = "interrupted"
        except (Exception, SystemExit) as error:
            self.report.failures[key] = self._failure(name, error)

    def _failure(self, name: str, error: BaseException) -> Failure:
        analyzer = self.chosen[name]
        if isinstance(analyzer, Finalized):
            analyzer = analyzer.streaming
        return failure_of(name, analyzer, error)

    def result(self, name: str) -> Any:
        """The result of an analyzer, which need not be among the chosen ones."""
        if name in self.done:
            return self.done[name]
        if name in self.running:
            chain = " -> ".join([*self.running, name])
            raise PluginError(f"Analyzers ask for each other's results in a circle: {chain}.")
        if name not in self.chosen:
            if self.subject.gone:
                raise _SkippedError(f"needs the result of {name!r}, which was not fed: name it too")
            self.chosen[name] = _instance(name)
        analyzer = self.chosen[name]
        if isinstance(analyzer, PluginError):
            raise analyzer
        ctx = self._context(name)
        missing = [ctx.missing(r) for r in sorted(analyzer.requires) if not ctx.has(r)]
        if missing:
            raise _SkippedError("; ".join(missing))
        self.running.append(name)
        try:
            result = analyzer.analyze(ctx)
        finally:
            self.running.pop()
        if isinstance(result, type) or not dataclasses.is_dataclass(result):
            raise PluginError(
                f"The analyzer {name!r}{_from(type(analyzer))} returned {result!r:.60}, a "
                f"{type(result).__name__}; analyze() must return an instance of a frozen dataclass."
            )
        self.done[name] = result
        return result

    def _context(self, name: str) -> Context:
        def progress(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(name, self.layer, done, total)

        return Context(
            recording=self.subject.recording,
            layer=self.layer,
            seed=self.seed,
            progress=progress,
            _recurrence=self.subject.recurrence,
            _readout=self.subject.readout,
            _result=self.result,
        )


def failure_of(name: str, analyzer: Analyzer | PluginError, error: BaseException) -> Failure:
    """What goes into the report; a plugin is also warned about, by its package."""
    source = source_of(type(analyzer)) if isinstance(analyzer, Analyzer) else ""
    failure = Failure(error, "".join(traceback.format_exception(error)), source)
    if source:
        warn_once(f"The analyzer {name!r} failed: {failure}", about=f"{name} of {source}")
    elif isinstance(analyzer, PluginError):
        warn_once(str(error))
    return failure


class _SkippedError(Exception):
    """An analyzer's requirements are not met."""
