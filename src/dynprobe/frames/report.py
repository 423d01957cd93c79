"""Results as a table: one row a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynprobe.frames.numbers import numbers
from dynprobe.frames.pandas import data_frame


def results_frame(results: Mapping[tuple[str, str], Any]) -> Any:
    """See :meth:`dynprobe.Report.to_pandas`."""
    rows = [
        (analyzer, layer, measure, value)
        for (analyzer, layer), result in results.items()
        for measure, value in numbers(result).items()
    ]
    names = ("analyzer", "layer", "measure", "value")
    return data_frame({name: [row[i] for row in rows] for i, name in enumerate(names)})
