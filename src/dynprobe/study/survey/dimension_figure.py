"""Predicted and measured dimensions of every task, what is read and what is carried apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

from dynprobe.report.figures.style import FAINT, INK
from dynprobe.study.survey.answer_figure import NAMES
from dynprobe.study.survey.baseline import BASELINE
from dynprobe.study.survey.rows import MEMORY, MODEL, STREAM, Row, values_of
from dynprobe.study.survey.rules import view_read

#: Colour and shape of a kind: gated RNNs blue, linear transformers orange.
MARKS = {
    "gru": ("#0072b2", "o"),
    "lstm": ("#0072b2", "D"),
    "ugrnn": ("#56b4e9", "o"),
    "rnn": ("#7f7f7f", "X"),
    "linear transformer 1": ("#d55e00", "s"),
    "linear transformer 2": ("#e69f00", "v"),
    "linear transformer decay": ("#e69f00", "P"),
    "mamba": ("#009e73", "^"),
}
#: What is predicted, its name, its line and its colour; the second lies on the first.
PREDICTIONS = (
    ("participation ratio predicted by word counts", "word counts predict", "-", INK),
    (
        "participation ratio predicted by a bag of words",
        "a bag of words' weights predict",
        ":",
        "#cc79a7",
    ),
)
TASKS = {
    "categorical": "{} classes",
    "ordered": "{} ordered\nclasses",
    "multilabel": "{} labels\nat once",
    "ag_news": "AG News\n({} classes)",
    "goemotions": "GoEmotions\n({})",
    "sst5": "SST-5\n({})",
}
_TICKS = (1, 2, 3, 4, 5, 7, 10, 20, 40)


def draw_dimensions(rows: Sequence[Row], models: Sequence[str]) -> Figure | None:
    """One panel for what is read and one for the memory; nothing where nothing was measured.

    Parameters
    ----------
    rows
        Of networks that were measured in full, and of the bag of words.
    models
        Which, in the order of the legend.
    """
    measured = {(r.task, r.n) for r in rows if r.model in models and r.task in TASKS}
    if not measured:
        return None
    tasks = sorted(measured, key=lambda t: (list(TASKS).index(t[0]), t[1]))
    shown = [m for m in models if any(r.model == m for r in rows)]
    figure = Figure(figsize=(1.6 + 0.92 * len(tasks), 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels: tuple[Axes, Axes] = figure.subplots(2, 1, sharex=True)
    for axes, notion, title in (
        (panels[0], STREAM, "What is read"),
        (panels[1], MEMORY, "What is carried, as the layer reads it"),
    ):
        for x, (task, n) in enumerate(tasks):
            own = [r for r in rows if (r.task, r.n) == (task, n)]
            _predicted(axes, x, own)
            for i, model in enumerate(shown):
                place = x + 0.72 * ((i + 0.5) / len(shown) - 0.5)
                _measured(axes, place, [r for r in own if r.model == model], model, notion)
        axes.set_title(title)
        axes.set_ylabel("participation ratio\n(mean; bar: least to largest)")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(_fixed(axes))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y", color=FAINT, lw=0.6)
        axes.set_axisbelow(True)
        for x in range(1, len(tasks)):
            axes.axvline(x - 0.5, color=FAINT, lw=0.6)
        axes.set_xlim(-0.5, len(tasks) - 0.5)
    panels[1].set_xticks(range(len(tasks)), [TASKS[t].format(n) for t, n in tasks])
    panels[1].tick_params(axis="x", length=0)
    figure.legend(handles=_legend(shown), loc="outside lower center", ncols=4)
    return figure


def _predicted(axes: Axes, x: int, own: Sequence[Row]) -> None:
    counted = [r for r in own if r.model == BASELINE]
    for measure, _, line, colour in PREDICTIONS:
        for value in values_of(counted, MODEL, measure):
            axes.plot([x - 0.44, x + 0.44], [value] * 2, color=colour, ls=line, lw=2, zorder=1)


def _measured(axes: Axes, x: float, own: Sequence[Row], model: str, notion: str) -> None:
    measure = "participation ratio"
    name = view_read(own) + measure if notion == MEMORY else measure
    values = [v for v in values_of(own, notion, name) if math.isfinite(v)]
    if not values:
        return
    colour, shape = MARKS[model]
    axes.vlines(x, min(values), max(values), colors=colour, lw=1.2, zorder=2)
    axes.plot(x, fmean(values), shape, color=colour, ms=5.5, mec="white", mew=0.5, zorder=3)


def _fixed(axes: Axes) -> FixedLocator:
    low, high = axes.get_ylim()
    return FixedLocator([t for t in _TICKS if low <= t <= high])


def _legend(shown: Sequence[str]) -> list[Line2D]:
    kinds = [
        Line2D([], [], color=MARKS[m][0], marker=MARKS[m][1], ls="", ms=5.5, label=_name(m))
        for m in shown
    ]
    return kinds + [
        Line2D([], [], color=colour, ls=line, lw=2, label=label)
        for _, label, line, colour in PREDICTIONS
    ]


def _name(model: str) -> str:
    """Its name where no other stands before it."""
    name = NAMES[model]
    return f"linear transformer {name}" if name.startswith(("of ", "with ")) else name
