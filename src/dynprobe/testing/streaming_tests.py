"""What a streaming analyzer has to do besides: its accumulators add up in any order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynprobe.analysis import Subject, run_on
from dynprobe.analyzers.base import Analyzer, StreamingAnalyzer
from dynprobe.analyzers.finalized import Finalized
from dynprobe.recording import Recording
from dynprobe.report import Report
from dynprobe.testing.leaves import difference
from dynprobe.testing.running import run
from dynprobe.testing.samples import Sample

#: Sums in another order round differently.
ROUNDING = 1e-5


class StreamingTests:
    """The tests of one streaming analyzer, on what `make` gives."""

    def __init__(
        self, analyzer: StreamingAnalyzer | type[StreamingAnalyzer], make: Callable[[], Sample]
    ) -> None:
        self.given = analyzer
        self.make = make

    @property
    def analyzer(self) -> StreamingAnalyzer:
        return self.given() if isinstance(self.given, type) else self.given

    def of(self, rec: Recording, *cuts: slice) -> Any:
        """The accumulator of some sequences, batch by batch."""
        acc = self.analyzer.init(rec.meta)
        for cut in cuts:
            acc = self.analyzer.update(acc, rec[cut])
        return acc

    def result(self, accumulate: Callable[[Recording], Any]) -> Any:
        return run(Finalized(self.analyzer, accumulate), self.make())

    def same(self, a: Any, b: Any, what: str) -> None:
        found = difference(self.result(a), self.result(b), tolerance=ROUNDING)
        if found:
            raise AssertionError(
                f"{what}: {found}. Keep sums and counts that merge exactly, no averages."
            )

    def batches(self) -> None:
        def split(rec: Recording) -> Any:
            return self.of(rec, slice(0, 1), slice(1, 7), slice(7, None))

        what = "Three batches give another result than one"
        self.same(lambda rec: self.of(rec, slice(None)), split, what)

    def empty(self) -> None:
        def around(rec: Recording) -> Any:
            acc = self.of(rec, slice(0, 0), slice(None), slice(3, 3))
            return self.analyzer.merge(acc, self.analyzer.init(rec.meta))

        what = "A batch without sequences, or an empty accumulator, changes the result"
        self.same(lambda rec: self.of(rec, slice(None)), around, what)

    def commutative(self) -> None:
        def merged(rec: Recording, turned: bool) -> Any:
            a, b = self.of(rec, slice(0, 5)), self.of(rec, slice(5, None))
            return self.analyzer.merge(b, a) if turned else self.analyzer.merge(a, b)

        what = "merge(a, b) and merge(b, a) give different results"
        self.same(lambda rec: merged(rec, False), lambda rec: merged(rec, True), what)
        whole = "Two halves merged give another result than all at once"
        self.same(lambda rec: merged(rec, False), lambda rec: self.of(rec, slice(None)), whole)

    def associative(self) -> None:
        def merged(rec: Recording, left_first: bool) -> Any:
            a, b, c = (self.of(rec, s) for s in (slice(0, 4), slice(4, 9), slice(9, None)))
            merge = self.analyzer.merge
            return merge(merge(a, b), c) if left_first else merge(a, merge(b, c))

        what = "merge(merge(a, b), c) and merge(a, merge(b, c)) give different results"
        self.same(lambda rec: merged(rec, True), lambda rec: merged(rec, False), what)

    def gone(self) -> None:
        sample = self.make()
        rec = sample.recording
        acc = self.of(rec, slice(None))
        readout = rec.readout or "the recording has none"
        subject = Subject(rec[:0], sample.recurrence, readout, gone=True)
        report = Report()
        finalized: Analyzer = Finalized(self.analyzer, lambda _: acc)
        run_on(subject, {"analyzer": finalized}, report)
        advice = "finalize() may read no sequence of ctx.recording: put what it needs into acc."
        for failure in report.failures.values():
            raise AssertionError(
                f"After a run whose states have gone by it fails with {failure}. {advice}"
            ) from failure.error
        for result in report.results.values():  # none, if it needs another's result
            found = difference(self.result(lambda _: acc), result, tolerance=0.0)
            if found:
                raise AssertionError(
                    f"After a run whose states have gone by the result is another: {found}. "
                    f"{advice}"
                )

    def pure(self) -> None:
        def used(rec: Recording) -> Any:
            acc, other = self.of(rec, slice(0, 8)), self.of(rec, slice(8, None))
            self.analyzer.update(acc, rec[8:])
            self.analyzer.merge(acc, other)
            self.analyzer.merge(other, acc)
            return acc

        found = difference(
            self.result(lambda rec: self.of(rec, slice(0, 8))), self.result(used), tolerance=0.0
        )
        if found:
            raise AssertionError(
                f"update() or merge() changes the accumulator it was given: {found}. Return a "
                "new one "
                "(acc + x, not acc += x), and keep nothing in self."
            )
