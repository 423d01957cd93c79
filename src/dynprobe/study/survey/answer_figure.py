"""The figure that answers: what holds of which model, with the number behind each answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dynprobe.report.figures.style import FAINT, INK, MUTED
from dynprobe.study.survey.rows import MEMORY, STREAM, Row, accuracies, by_network, values_of
from dynprobe.study.survey.rules import RULES, Finding, findings, least_lag, view_read

#: Grounds of what holds of all networks, of none, of some, and of what no rule is about.
HOLDS, FAILS, MIXED, UNJUDGED = "#d3ecdf", "#fbdcc6", "#fcf1c9", "#f1f3f5"
#: What the models are called for readers.
NAMES = {
    "gru": "GRU",
    "lstm": "LSTM",
    "ugrnn": "UGRNN",
    "rnn": "vanilla RNN",
    "linear transformer 1": "linear transformer",
    "linear transformer 2": "of two layers",
    "linear transformer decay": "with decay",
    "mamba": "Mamba",
}
#: At most so many numbers of classes stand in one cell.
SHOWN = 2

#: Rows of one model and one N -> a number.
Value = Callable[[Sequence[Row]], float]


@dataclass(frozen=True)
class Column:
    """One question about every model.

    Attributes
    ----------
    heading, unit : str
        What is asked, and what the number is.
    rule : str or None
        By which the number is judged.
    value : callable
        The number.
    percent : bool
        Whether to write it as a percentage.
    """

    heading: str
    unit: str
    rule: str | None
    value: Value
    percent: bool = False


def _mean(notion: str, measure: str, *, read: bool = False) -> Value:
    """Mean over seeds; of the memory that the layer reads if `read`."""

    def value(rows: Sequence[Row]) -> float:
        found = values_of(rows, notion, f"{view_read(rows)}{measure}" if read else measure)
        return fmean(found) if found else math.nan

    return value


def _accuracy(rows: Sequence[Row]) -> float:
    return fmean(accuracies(rows))


def _first_words(rows: Sequence[Row]) -> float:
    """The least effect of a word, median over networks: what it is compared with varies much."""
    return median(map(least_lag, by_network(rows)))


COLUMNS = (
    Column("answers right", "of fresh sequences", "learned", _accuracy, percent=True),
    Column(
        "every word\ncounts",
        "least effect of a word,\nof the last one's\n(median): ≥ 50 %",
        "counts",
        _first_words,
        percent=True,
    ),
    Column(
        "reads out\nN − 1",
        "dimensions of\nwhat is read: within\na factor of 1.25",
        "reads out N − 1",
        _mean(STREAM, "participation ratio"),
    ),
    Column(
        "carries\nN − 1",
        "dimensions of\nthe memory: within\na factor of 1.25",
        "remembers N − 1",
        _mean(MEMORY, "participation ratio", read=True),
    ),
    Column(
        "memory is read\nlinearly",
        "of the logits'\nvariance:\n≥ 90 %",
        "is read linearly",
        _mean(MEMORY, "share of the logits its linear readout explains", read=True),
        percent=True,
    ),
    Column(
        "pulls back",
        "left of a push off\nits manifold: ≤ 50 %,\nnot affine",
        "corrects",
        _mean(MEMORY, "left of a push off the manifold"),
        percent=True,
    ),
    Column(
        "keeps",
        "left of a push along\nits manifold\n(no rule)",
        None,
        _mean(MEMORY, "left of a push along the manifold"),
        percent=True,
    ),
)


def draw_answer(rows: Sequence[Row], models: Sequence[str]) -> Figure | None:
    """A line a model, a column a question; nothing where no model was measured in full.

    Parameters
    ----------
    rows
        Of networks that were measured in full.
    models
        In the order of the lines.
    """
    counted = [r for r in rows if r.task.startswith("categorical")]
    shown = [m for m in models if any(r.model == m for r in counted)]
    if not shown:
        return None
    judged = {f.model: f for f in findings(counted, shown)}
    assert {c.rule for c in COLUMNS} - {None} == set(RULES)
    numbers = _numbers([r for r in counted if r.model in shown])
    width, height = 1.24, 0.5
    figure = Figure(figsize=(1.65 + width * len(COLUMNS), 1.5 + height * len(shown)))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    left, top = 1.55, height * len(shown)
    axes.set_xlim(0, 1.65 + width * len(COLUMNS))
    axes.set_ylim(-0.35, top + 1.15)
    for j, column in enumerate(COLUMNS):
        x = left + width * (j + 0.5)
        axes.text(x, top + 0.66, column.heading, ha="center", va="bottom", size=9, weight="bold",
                  color=INK, linespacing=1.05)  # fmt: skip
        axes.text(x, top + 0.1, column.unit, ha="center", va="bottom", size=7.5, color=MUTED)
    for i, model in enumerate(shown):
        y = top - height * (i + 1)
        axes.text(left - 0.12, y + height / 2, NAMES.get(model, model), ha="right", va="center",
                  size=9, color=INK)  # fmt: skip
        own = [[r for r in counted if (r.model, r.n) == (model, n)] for n in numbers]
        for j, column in enumerate(COLUMNS):
            ground, text = _cell(column, judged[model], own)
            x = left + width * j
            axes.add_patch(Rectangle((x + 0.03, y + 0.03), width - 0.06, height - 0.06,
                                     facecolor=ground, edgecolor="none"))  # fmt: skip
            size = 9 if len(text) <= 16 else 8
            axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=size,
                      color=INK)  # fmt: skip
    axes.plot([left, left + width * len(COLUMNS)], [top + 0.04] * 2, color=FAINT, lw=1)
    classes = " / ".join(str(n) for n in numbers)
    every = ", ".join(str(n) for n in sorted({r.n for r in counted if r.model in shown}))
    axes.text(left, -0.2, f"Means for N = {classes}. ✓ holds of every network (N = {every}), ✗ of "
              "none, else of how many. To count, 95 % of answers must stay in random order",
              size=7.5, color=MUTED, va="center")  # fmt: skip
    return figure


def _numbers(rows: Sequence[Row]) -> list[int]:
    """The numbers of classes with most seeds, not too many for a cell."""
    seeds = {n: len({r.seed for r in rows if r.n == n}) for n in {r.n for r in rows}}
    most = sorted(seeds, key=lambda n: (-seeds[n], abs(n - 3), n))
    return sorted(most[:SHOWN])


def _cell(column: Column, finding: Finding, own: Sequence[Sequence[Row]]) -> tuple[str, str]:
    """Ground and text; the judgement is of all numbers of classes, the text shows some."""
    values = [_written(column.value(s), percent=column.percent) if s else "–" for s in own]
    if set(values) == {"–"}:
        return UNJUDGED, "–"
    text = " / ".join(values) + (" %" if column.percent else "")
    if column.rule is None or finding.holds[column.rule][1] == 0:
        return UNJUDGED, text
    holds = finding.verdict(column.rule)
    if holds is None:
        return MIXED, f"{text} ({finding.word(column.rule)})"
    return (HOLDS, f"✓ {text}") if holds else (FAILS, f"✗ {text}")


def _written(value: float, *, percent: bool) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if not percent:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    digits = 1 if 0.9 <= value <= 0.9995 else 0
    return f"{round(100 * value, digits) + 0.0:.{digits}f}"  # no "-0"
