"""Figures and tables of the pages on integration beyond RNNs, from the rows of the survey.

    python benchmarks/integration.py           # write them anew
    python benchmarks/integration.py --check   # fail if a page's tables are not those of the rows

The rows are what ``dynprobe survey --data FOLDER --out benchmarks/results/survey`` measured;
`machine.json` beside them tells where.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from machine import RESULTS
from pages import fill, markdown

from dynprobe.report.figures.style import style
from dynprobe.study.survey.answer_figure import NAMES, draw_answer
from dynprobe.study.survey.baseline import BASELINE
from dynprobe.study.survey.dimension_figure import TASKS, draw_dimensions
from dynprobe.study.survey.rows import (
    MEMORY,
    MODEL,
    STREAM,
    Row,
    accuracies,
    in_full,
    read_rows,
    values_of,
)
from dynprobe.study.survey.rules import view_read
from dynprobe.study.survey.settings import MODELS

DOCS = Path(__file__).parents[1] / "docs"
#: What it says, and all tables.
PAGES = (DOCS / "integration-beyond-rnns.md", DOCS / "integration-tables.md")
ANSWER, DIMENSIONS = DOCS / "img" / "integration.png", DOCS / "img" / "integration-dimension.png"
#: A table of the page, with the task that it is of.
PLACE = re.compile(r"(<!-- table: (\w+) (\d+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: The table of the control, and what a network must reach to be in it.
CONTROL = re.compile(r"(<!-- control -->\n).*?(<!-- end -->)", re.DOTALL)
LEARNED_WELL = 0.98
#: A table with a line for each task.
ACROSS = re.compile(r"(<!-- across: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: What a line is called; of what, and which measures: several are written one after the other.
LINES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("same answer in random order", MODEL, ("same answer in random order",)),
    (
        "effect of a word 8, 35, 50 words before the end, of the last one's (medians)",
        MODEL,
        (
            "MEDIAN memory horizon at lag 8",
            "MEDIAN memory horizon at lag 35",
            "MEDIAN memory horizon at lag 50",
        ),
    ),
    ("**what is read**: participation ratio", STREAM, ("participation ratio",)),
    ("components for 95 %", STREAM, ("components for 95 %",)),
    ("components the readout needs", STREAM, ("components the readout needs",)),
    (
        "readout angles, smallest and largest",
        STREAM,
        ("readout angle, smallest", "readout angle, largest"),
    ),
    (
        "variance explained by evidence so far; by its mean",
        STREAM,
        ("share explained by evidence so far", "share explained by mean evidence"),
    ),
    ("**what is carried**: participation ratio", MEMORY, ("participation ratio",)),
    ("the same as the layer reads it", MEMORY, ("READ participation ratio",)),
    (
        "the same, words of all classes in random order",
        MEMORY,
        ("READ participation ratio, random inputs",),
    ),
    (
        "variance (as it is read) explained by evidence so far; by its mean",
        MEMORY,
        ("READ share explained by evidence so far", "READ share explained by mean evidence"),
    ),
    (
        "logits explained by a linear readout of it",
        MEMORY,
        ("READ share of the logits its linear readout explains",),
    ),
    ("left of a push off the manifold", MEMORY, ("left of a push off the manifold",)),
    ("left of a push along it", MEMORY, ("left of a push along the manifold",)),
    ("two longest time constants", MEMORY, ("time constant 1", "time constant 2")),
)

_EARLY = ("MEDIAN memory horizon at lag 8", "MEDIAN memory horizon at lag 35")
#: What stands in a table over tasks; of what, and which measures.
QUESTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "off": (MEMORY, ("left of a push off the manifold",)),
    "along": (MEMORY, ("left of a push along the manifold",)),
    "early": (MODEL, _EARLY),
}


def table(rows: Sequence[Row], task: str, n: int) -> str:
    """Mean and standard deviation over seeds of the chosen networks of every model."""
    own = [r for r in rows if (r.task, r.n) == (task, n)]
    models = [m for m in MODELS if any(r.model == m for r in own)]
    lines = [["", *(NAMES[m] for m in models)], ["---"] * (1 + len(models))]
    by_model = {m: [r for r in own if r.model == m] for m in models}
    seeds = [len({r.seed for r in by_model[m]}) for m in models]
    lines.append(["networks", *map(str, seeds)])
    lines.append(["accuracy, fresh sequences, %", *(_percent(by_model[m]) for m in models)])
    for title, notion, measures in LINES:
        cells = [_cell(by_model[m], notion, measures) for m in models]
        if any(cell != "–" for cell in cells):
            lines.append([title, *cells])
    counted = [r for r in own if r.model == BASELINE]
    text = markdown(lines)
    if counted:
        predicted = {r.measure: r.value for r in counted}
        ratio = predicted.get("participation ratio predicted by word counts", math.nan)
        text += (
            f"\nA bag of words: accuracy {counted[0].accuracy:.3f}; word counts predict "
            f"{ratio:.2f} dimensions.\n"
        )
    return text


def across(rows: Sequence[Row], question: str) -> str:
    """One measure, or the accuracy, of every model on every task."""
    models = [m for m in MODELS if any(r.model == m for r in rows)]
    accuracy = question == "accuracy"
    last = ["a bag of words"] if accuracy else []
    lines = [["", *(NAMES[m] for m in models), *last]]
    lines.append(["---"] * len(lines[0]))
    measured = {(r.task, r.n) for r in rows if r.model in MODELS}
    for task, n in sorted(measured, key=lambda t: (list(TASKS).index(t[0]), t[1])):
        own = [r for r in rows if (r.task, r.n) == (task, n)]
        by_model = [[r for r in own if r.model == m] for m in models]
        name = TASKS[task].format(n).replace("\n", " ")
        if accuracy:
            cells = [_percent(some) if some else "–" for some in by_model]
            counted = [r for r in own if r.model == BASELINE]
            cells.append(f"{100 * counted[0].accuracy:.1f}" if counted else "–")
        else:
            cells = [_cell(some, *QUESTIONS[question]) if some else "–" for some in by_model]
        lines.append([name, *cells])
    return markdown(lines)


def _cell(rows: Sequence[Row], notion: str, measures: Sequence[str]) -> str:
    read = view_read(rows)
    found = []
    for measure in measures:
        name = measure.removeprefix("MEDIAN ").replace("READ ", read)
        values = values_of(rows, notion, name)
        middle = measure.startswith("MEDIAN ") and values
        if middle:
            found.append(f"{median(values):.2f}")
        elif "components" in name:
            found.append(component_counts(values))
        else:
            found.append(written(values))
    return ", ".join(found)


def _percent(rows: Sequence[Row]) -> str:
    values = accuracies(rows)
    spread = 100 * stdev(values) if len(values) > 1 else 0.0
    return f"{100 * fmean(values):.1f}" + (f" ± {spread:.1f}" if spread >= 0.05 else "")


def written(values: Sequence[float]) -> str:
    """Mean and standard deviation; "∞" where it is so for most, "–" for nothing."""

    def mean_and_spread(finite: Sequence[float]) -> str:
        mean = fmean(finite)
        spread = stdev(finite) if len(finite) > 1 else 0.0
        digits = 2 if abs(mean) < 10 else 0
        half = 0.5 * 10**-digits
        return f"{round(mean, digits) + 0.0:.{digits}f}" + (
            f" ± {spread:.{digits}f}" if spread >= half else ""
        )

    return _of_finite(values, mean_and_spread, "∞")


def component_counts(values: Sequence[float]) -> str:
    """Least and largest; "many" where most are more than were counted, "–" for nothing."""

    def least_and_largest(finite: Sequence[float]) -> str:
        low, high = int(min(finite)), int(max(finite))
        return str(low) if low == high else f"{low} to {high}"

    return _of_finite(values, least_and_largest, "many")


def _of_finite(
    values: Sequence[float], write: Callable[[Sequence[float]], str], endless: str
) -> str:
    """What is written of the finite ones, and how many are not; NaN are none."""
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return "–"
    finite = [v for v in known if math.isfinite(v)]
    if len(finite) <= len(known) / 2:
        return endless
    more = len(known) - len(finite)
    return write(finite) + (f" ({endless} in {more})" if more else "")


def penalties(networks: Sequence[dict[str, Any]]) -> str:
    """The control: least and largest over the grid of each model, of networks that learned."""
    head = ("", "networks", "accuracy", "effect of a word 35 words back", "left of a push off",
            "left of a push along", "longest time constant")  # fmt: skip
    lines: list[Sequence[str]] = [head, ("---",) * len(head)]
    for model in dict.fromkeys(net["model"] for net in networks):
        own = [net for net in networks if net["model"] == model]
        good = [net for net in own if net["accuracy"] >= LEARNED_WELL]

        def span(name: str, write: Callable[[float], str], good: Sequence[Any] = good) -> str:
            values = [net[name] for net in good if net[name] is not None]
            low, high = write(min(values)), write(max(values))
            return low if low == high else f"{low} to {high}"

        lines.append(
            (
                NAMES[model],
                f"{len(good)} of {len(own)}",
                span("accuracy", "{:.3f}".format),
                span("memory horizon at lag 35", "{:.2f}".format),
                span("left of a push off the manifold", _share),
                span("left of a push along the manifold", _share),
                # to six digits first, as rows have it, so that 255.49967 is 256 in every table
                span(
                    "time constant 1",
                    lambda v: "∞" if math.isinf(v) else f"{float(f'{v:.6g}'):,.0f}",
                ),
            )
        )
    return markdown(lines)


def _share(x: float) -> str:
    return f"{100 * x:.0f} %" if x >= 0.095 else f"{100 * x:.1f} %"


def with_tables(text: str, rows: Sequence[Row]) -> str:
    """The page with its tables filled from the rows."""
    text = PLACE.sub(lambda m: m[1] + table(rows, m[2], int(m[3])) + m[4], text)
    text = ACROSS.sub(lambda m: m[1] + across(rows, m[2]) + m[3], text)
    control = json.loads((RESULTS / "survey_penalties.json").read_text())["figures"]["networks"]
    return CONTROL.sub(lambda m: m[1] + penalties(control) + m[2], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows = in_full(read_rows(RESULTS / "survey" / "rows.csv"))
    fill(PAGES, lambda text: with_tables(text, rows), check=options.check)
    if options.check:
        return
    for path, draw in ((ANSWER, draw_answer), (DIMENSIONS, draw_dimensions)):
        with style():
            figure = draw(rows, tuple(MODELS))
            assert figure is not None
            figure.savefig(path, dpi=150)
        print(f"written: {path.name}")


if __name__ == "__main__":
    main()
