"""The figures of the survey, from its rows alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dynprobe.report.figures import Picture
from dynprobe.report.figures.style import MUTED, class_colours, new_figure, style
from dynprobe.study.survey.answer_figure import draw_answer
from dynprobe.study.survey.dimension_figure import draw_dimensions
from dynprobe.study.survey.rows import MEMORY, MODEL, STREAM, Row, in_full
from dynprobe.study.survey.rules import LAG, view_read
from dynprobe.study.survey.run import Survey

_MARKS = "osD^vP*X"


def answer(found: Survey) -> Iterator[Picture]:
    """The first figures: what holds of which model, and its dimensions over N."""
    yield from _drawn(
        "answer",
        "Does it integrate as a recurrent network is said to?",
        "Categorical tasks. Every word counts: a word is exchanged for another class's, so many "
        "words before the end; how much that moves the answer, least over places, of what it does "
        "at the last word. Reads out, carries: participation ratio of what the classifier reads "
        "and of what the recurrence carries (S/z where a layer reads that). Read linearly: what a "
        "linear readout of the memory explains of the logits. Corrects, keeps: what a sequence "
        "leaves of a push of the memory off its manifold, and along it.",
        lambda found: draw_answer(in_full(found.rows), found.settings.models),
        found,
    )
    yield from _drawn(
        "dimensions",
        "Dimensions, and what is left of a push",
        "Left and middle: participation ratio of what classifiers read and of memories (S/z where "
        "a layer reads S/z), mean and standard deviation over seeds; dashed: N − 1. Right: what is "
        "left of a push off the manifold of the memory (filled) and of one along it (open) after a "
        "sequence. A network that corrects has nothing left off the manifold, one that remembers "
        "keeps what is along it.",
        _dimensions,
        found,
    )


def others(found: Survey) -> Iterator[Picture]:
    """The rest, each where there are numbers."""
    for name, title, caption, draw in _FIGURES:
        yield from _drawn(name, title, caption, draw, found)


def _drawn(
    name: str,
    title: str,
    caption: str,
    draw: Callable[[Survey], Figure | None],
    found: Survey,
) -> Iterator[Picture]:
    try:
        with style():
            figure = draw(found)
    except Exception as error:  # one figure must not take the page down
        yield Picture(name, title, caption, None, f"{type(error).__name__}: {error}")
        return
    if figure is not None:
        yield Picture(name, title, caption, figure)


def _counted(found: Survey, model: str) -> list[Row]:
    return [r for r in in_full(found.rows) if r.model == model and r.task.startswith("categorical")]


def _by_n(rows: Sequence[Row], notion: str, measure: str) -> dict[int, list[float]]:
    out: dict[int, list[float]] = {}
    for r in rows:
        if (r.notion, r.measure) == (notion, measure) and math.isfinite(r.value):
            out.setdefault(r.n, []).append(r.value)
    return dict(sorted(out.items()))


def _dimensions(found: Survey) -> Figure | None:
    models = [m for m in found.settings.models if _counted(found, m)]
    if not models:
        return None
    figure = Figure(figsize=(11.5, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    colours = _colours(found)
    n_values: set[int] = set()
    for i, model in enumerate(models):
        rows = _counted(found, model)
        read = view_read(rows)
        for axes, notion, prefix in ((left, STREAM, ""), (middle, MEMORY, read)):
            by_n = _by_n(rows, notion, f"{prefix}participation ratio")
            _line(axes, by_n, model, colours[model], _MARKS[i % len(_MARKS)])
            n_values |= set(by_n)
        y = len(models) - 1 - i
        # one above the other: where both are alike, both are seen
        for where, face, up in (("off", colours[model], 0.12), ("along", "white", -0.12)):
            measure = f"left of a push {where} the manifold"
            values = [v for vs in _by_n(rows, MEMORY, measure).values() for v in vs]
            if values:
                right.plot(
                    100 * fmean(values),
                    y + up,
                    "o",
                    ms=7,
                    mfc=face,
                    mec=colours[model],
                    clip_on=False,
                )
    for axes, title in ((left, "stream: what is read"), (middle, "memory: what is carried")):
        n = sorted(n_values)
        axes.plot(n, [k - 1 for k in n], "--", color=MUTED, lw=1)
        axes.set_xlabel("classes N")
        axes.set_ylabel("participation ratio")
        axes.set_xticks(n)
        axes.set_ylim(bottom=0)
        axes.set_title(title)
    right.set_yticks(range(len(models)), models[::-1])
    right.set_xlim(0, 105)
    right.set_ylim(-0.5, len(models) - 0.5)
    right.set_xlabel("left of a push, %")
    right.set_title("memory: left of a push")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=min(8, len(models))
    )
    return figure


def _line(axes: Axes, by_x: dict[int, list[float]], label: str, colour: str, mark: str) -> None:
    means = [fmean(v) for v in by_x.values()]
    spread = [stdev(v) if len(v) > 1 else 0.0 for v in by_x.values()]
    axes.errorbar(
        list(by_x), means, spread, fmt=f"{mark}-", ms=4, lw=1.2, color=colour, label=label
    )


def _horizon(found: Survey) -> Figure | None:
    n = min((r.n for r in in_full(found.rows) if r.measure.startswith(LAG)), key=_from_three,
            default=None)  # fmt: skip
    if n is None:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    for i, model in enumerate(found.settings.models):
        by_lag: dict[int, list[float]] = {}
        for r in _counted(found, model):
            if r.n == n and r.notion == MODEL and r.measure.startswith(LAG):
                by_lag.setdefault(int(r.measure.removeprefix(LAG)), []).append(r.value)
        if by_lag:
            _line(axes, by_lag, model, _colours(found)[model], _MARKS[i % len(_MARKS)])
    axes.axhline(0.5, color=MUTED, lw=1, ls="--")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_xlabel(f"words before the end, {n} classes")
    axes.set_ylabel("change of the margin, that of the last word 1")
    axes.legend()
    return figure


def _from_three(n: int) -> tuple[int, int]:
    return (abs(n - 3), n)


def _by_l2(notion: str) -> Callable[[Survey], Figure | None]:
    """Dimension over L2, at the rate that was chosen, on the categorical task of the grid."""

    def draw(found: Survey) -> Figure | None:
        figure = new_figure()
        axes = figure.add_subplot()
        drawn = False
        for i, model in enumerate(found.settings.models):
            whole = _counted(found, model)
            rates = {(r.task, r.n, r.lr) for r in whole}
            rows = [
                r
                for r in found.rows
                if r.model == model and r.seed == 0 and (r.task, r.n, r.lr) in rates
            ]
            prefix = view_read(rows) if notion == MEMORY else ""
            points = sorted(
                (r.l2, r.value, r.accuracy, r.n)
                for r in rows
                if (r.notion, r.measure) == (notion, f"{prefix}participation ratio")
            )
            counts = [p[3] for p in points]
            points = [p for p in points if counts.count(p[3]) > 1]
            if not points:
                continue
            drawn = True
            colour = _colours(found)[model]
            axes.plot([p[0] for p in points], [p[1] for p in points], "-", color=colour, lw=1)
            axes.plot([p[0] for p in points], [p[1] for p in points],
                      _MARKS[i % len(_MARKS)], color=colour, ms=4, label=model)  # fmt: skip
            for l2, value, accuracy, _ in points:
                axes.annotate(f"{accuracy:.2f}", (l2, value), (3, 4), color=colour, fontsize=7,
                              textcoords="offset points")  # fmt: skip
        if not drawn:
            return None
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel("L2")
        axes.set_ylabel(f"participation ratio of the {notion}")
        axes.legend()
        return figure

    return draw


def _colours(found: Survey) -> dict[str, str]:
    models = found.settings.models
    return dict(zip(models, class_colours(len(models)), strict=True))


_L2 = "On the task of the grid, seed 0, at the chosen rate; beside each point its accuracy."
_FIGURES: tuple[tuple[str, str, str, Callable[[Survey], Figure | None]], ...] = (
    (
        "tasks",
        "Predicted and measured dimension of every task",
        "Participation ratio of what classifiers read and of memories (S/z where a layer reads "
        "S/z): mean, and least to largest over seeds. Lines are what word counts, and the weights "
        "of a bag of words, predict.",
        lambda found: draw_dimensions(in_full(found.rows), found.settings.models),
    ),
    (
        "horizon",
        "How far back a word counts",
        "A word is exchanged for another class's so many words before the end; mean and standard "
        "deviation over seeds. A counter has a line at 1; dashed: half.",
        _horizon,
    ),
    ("stream-l2", "Dimension of the stream over L2", _L2, _by_l2(STREAM)),
    (
        "memory-l2",
        "Dimension of the memory over L2",
        f"Of S/z where a layer reads it. {_L2}",
        _by_l2(MEMORY),
    ),
)
