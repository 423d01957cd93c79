"""One analyzer on one sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from dynprobe.analysis import analyze
from dynprobe.analyzers.base import Analyzer
from dynprobe.errors import PluginWarning
from dynprobe.testing.samples import Sample

AnalyzerLike = Analyzer | type[Analyzer]


def run(
    analyzer: AnalyzerLike,
    sample: Sample,
    *,
    seed: int = 0,
    progress: Callable[[str, str, int, int], None] | None = None,
) -> Any:
    """The result of one analyzer on a sample; what it raises is raised.

    Raises
    ------
    AssertionError
        If it is skipped.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)
        report = analyze(
            sample.recording,
            [analyzer],
            recurrence=sample.recurrence,
            seed=seed,
            progress=progress,
        )
    for failure in report.failures.values():
        raise failure.error
    for why in report.skipped.values():
        raise AssertionError(
            f"It is skipped on a recording that has all it can have: it {why}. Require less, or "
            "pass a sample= that has it."
        )
    (result,) = report.results.values()
    return result
