"""Whether an analyzer keeps its contract: all checks at once, or as a list for pytest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from dynprobe.analyzers.base import StreamingAnalyzer
from dynprobe.testing.analyzer_tests import AnalyzerTests
from dynprobe.testing.check import Check, Expected, marked, named, run_all
from dynprobe.testing.running import AnalyzerLike
from dynprobe.testing.samples import Sample, sample_for
from dynprobe.testing.streaming_tests import StreamingTests


def check_analyzer(
    analyzer: AnalyzerLike,
    *,
    sample: Sample | None = None,
    expected_failures: Expected | None = None,
) -> None:
    """Check that an analyzer keeps its contract.

    Parameters
    ----------
    analyzer : Analyzer or its class
        A class is made without arguments, as it is when it is asked for by name.
    sample : Sample, optional
        What it is run on; by default a small random GRU, or linear attention kept as factors.
    expected_failures : mapping, optional
        Names of checks that fail, with the reason.

    Raises
    ------
    AssertionError
        With a sentence for each check that failed: what was wrong and what to do.
    UnknownNameError
        If an expected failure is the name of no check.
    """
    run_all(_checks(analyzer, sample), expected_failures)


def analyzer_checks(
    analyzer: AnalyzerLike,
    *,
    sample: Sample | None = None,
    expected_failures: Expected | None = None,
) -> list[Any]:
    """The same, as a list for ``@pytest.mark.parametrize("check", analyzer_checks(Mine))``.

    Returns
    -------
    list of Check
        Each with a `name`, and called without arguments; those that are expected to fail as
        ``pytest.param`` with a strict xfail mark.
    """
    return marked(_checks(analyzer, sample), expected_failures)


def _checks(analyzer: AnalyzerLike, sample: Sample | None) -> list[Check]:
    cls = analyzer if isinstance(analyzer, type) else type(analyzer)

    def make() -> Sample:
        return sample or sample_for(frozenset(analyzer.requires))

    of = AnalyzerTests(analyzer, cls, make)
    tests: dict[str, Callable[[], None]] = {
        "contract": of.contract,
        "result_is_a_frozen_dataclass": of.frozen,
        "result_is_plain": of.is_plain,
        "requirements_are_enough": of.requirements,
        "same_seed_same_result": of.seeded,
        "recording_unchanged": of.recording_unchanged,
        "model_unchanged": of.model_unchanged,
        "random_state_unchanged": of.process_unchanged,
        "padding_is_left_out": of.padding,
        "progress_is_tolerated": of.progress,
        "summary_and_figure": of.presented,
    }
    if isinstance(analyzer, StreamingAnalyzer) or issubclass(cls, StreamingAnalyzer):
        adding = StreamingTests(cast(StreamingAnalyzer, analyzer), make)
        tests |= {
            "batches_add_up": adding.batches,
            "empty_batches_add_nothing": adding.empty,
            "merge_is_commutative": adding.commutative,
            "merge_is_associative": adding.associative,
            "accumulators_are_not_changed": adding.pure,
            "states_may_have_gone_by": adding.gone,
        }
    return named(cls.__name__, tests)
