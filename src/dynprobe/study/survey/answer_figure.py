"""The figure that answers: what holds of which model, with the number behind each answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dynprobe.report.figures.style import FAINT, INK, MUTED
from dynprobe.study.survey.rows import MEMORY, STREAM, Row
from dynprobe.study.survey.rules import LAG, RULES, findings, view_read

#: Grounds of what holds, what does not, and what no rule is about.
HOLDS, FAILS, UNJUDGED = "#d3ecdf", "#fbdcc6", "#f1f3f5"
_MARK = {True: "✓ ", False: "✗ ", None: ""}

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
        name = f"{view_read(rows)}{measure}" if read else measure
        found = [r.value for r in rows if (r.notion, r.measure) == (notion, name)]
        return fmean(found) if found else math.nan

    return value


def _accuracy(rows: Sequence[Row]) -> float:
    return fmean({r.seed: r.accuracy for r in rows}.values())


def _first_words(rows: Sequence[Row]) -> float:
    """Of the lags, that whose mean over seeds is least."""
    by_lag: dict[str, list[float]] = {}
    for r in rows:
        if r.measure.startswith(LAG):
            by_lag.setdefault(r.measure, []).append(r.value)
    return min((fmean(values) for values in by_lag.values()), default=math.nan)


COLUMNS = (
    Column("answers right", "of fresh sequences", "learned", _accuracy, percent=True),
    Column(
        "every word\ncounts",
        "least effect of a word,\nof the last one's",
        "counts",
        _first_words,
        percent=True,
    ),
    Column(
        "reads out\nN − 1",
        "dimensions of\nwhat is read",
        "reads out N − 1",
        _mean(STREAM, "participation ratio"),
    ),
    Column(
        "carries\nN − 1",
        "dimensions of\nthe memory",
        "remembers N − 1",
        _mean(MEMORY, "participation ratio", read=True),
    ),
    Column(
        "memory is read\nlinearly",
        "of the logits'\nvariance",
        "is read linearly",
        _mean(MEMORY, "share of the logits its linear readout explains", read=True),
        percent=True,
    ),
    Column(
        "corrects",
        "left of a push\noff the manifold",
        "corrects",
        _mean(MEMORY, "left of a push off the manifold"),
        percent=True,
    ),
    Column(
        "keeps",
        "left of a push\nalong the manifold",
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
    judged = {f.model: f.holds for f in findings(counted, shown)}
    assert {c.rule for c in COLUMNS} - {None} == set(RULES)
    numbers = sorted({r.n for r in counted if r.model in shown})
    width, height = 1.25, 0.5
    figure = Figure(figsize=(2.25 + width * len(COLUMNS), 1.35 + height * len(shown)))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    left, top = 2.0, height * len(shown)
    axes.set_xlim(0, 2.25 + width * len(COLUMNS))
    axes.set_ylim(-0.35, top + 1.0)
    for j, column in enumerate(COLUMNS):
        x = left + width * (j + 0.5)
        axes.text(x, top + 0.5, column.heading, ha="center", va="bottom", size=9, weight="bold",
                  color=INK, linespacing=1.05)  # fmt: skip
        axes.text(x, top + 0.1, column.unit, ha="center", va="bottom", size=7.5, color=MUTED)
    for i, model in enumerate(shown):
        y = top - height * (i + 1)
        axes.text(left - 0.12, y + height / 2, model, ha="right", va="center", size=9, color=INK)
        own = [[r for r in counted if (r.model, r.n) == (model, n)] for n in numbers]
        for j, column in enumerate(COLUMNS):
            holds = judged[model][column.rule] if column.rule else None
            ground = {True: HOLDS, False: FAILS, None: UNJUDGED}[holds]
            x = left + width * j
            axes.add_patch(Rectangle((x + 0.03, y + 0.03), width - 0.06, height - 0.06,
                                     facecolor=ground, edgecolor="none"))  # fmt: skip
            values = [
                _written(column.value(some), percent=column.percent) if some else "–"
                for some in own
            ]
            text = _MARK[holds] + " / ".join(values) + (" %" if column.percent else "")
            axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=9,
                      color=INK)  # fmt: skip
    axes.plot([left, left + width * len(COLUMNS)], [top + 0.04] * 2, color=FAINT, lw=1)
    classes = " / ".join(str(n) for n in numbers)
    axes.text(left, -0.2, f"N = {classes} classes. Means over seeds; ✓ and ✗ by rules that were "
              "stated before; grey: none", size=7.5, color=MUTED, va="center")  # fmt: skip
    return figure


def _written(value: float, *, percent: bool) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if not percent:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    return f"{100 * value:.1f}" if 0.9 <= value <= 0.9995 else f"{100 * value:.0f}"
