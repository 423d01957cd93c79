"""One figure for each finding, from rows and arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, stdev
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynprobe.report.figures import Picture
from dynprobe.report.figures.style import (
    ACCENT,
    ALERT,
    FAINT,
    INK,
    MUTED,
    class_colours,
    legend_below,
    log_axis,
    new_figure,
    style,
)
from dynprobe.study.reproduce.references import REFERENCES
from dynprobe.study.reproduce.rows import Row
from dynprobe.study.reproduce.run import Reproduction
from dynprobe.study.reproduce.settings import L2, RESET_FIRST, TIED


def pictures(found: Reproduction) -> Iterator[Picture]:
    """Every figure for which there are numbers."""
    for name, title, caption, draw in _FIGURES:
        try:
            with style():
                figure = draw(found)
        except Exception as error:  # one figure must not take the page down
            yield Picture(name, title, caption, None, f"{type(error).__name__}: {error}")
            continue
        if figure is not None:
            yield Picture(name, title, caption, figure)


# -- numbers over N ------------------------------------------------------------------------------


def _by_n(rows: Sequence[Row], measure: str, kind: str = "categorical") -> dict[int, list[float]]:
    out: dict[int, list[float]] = {}
    for r in rows:
        if (r.task, r.model, r.l2) == (kind, "gru", L2) and r.measure == measure:
            out.setdefault(r.n, []).append(r.value)
    return dict(sorted(out.items()))


def _accuracies(rows: Sequence[Row], kind: str) -> dict[int, list[float]]:
    out: dict[int, dict[int, float]] = {}
    for r in rows:
        if (r.task, r.model, r.l2) == (kind, "gru", L2):
            out.setdefault(r.n, {})[r.seed] = r.accuracy
    return {n: list(by_seed.values()) for n, by_seed in sorted(out.items())}


def _line(axes: Axes, by_n: dict[int, list[float]], label: str, colour: str, mark: str) -> None:
    n = list(by_n)
    mean = [fmean(v) for v in by_n.values()]
    spread = [stdev(v) if len(v) > 1 else 0.0 for v in by_n.values()]
    axes.errorbar(n, mean, spread, fmt=f"{mark}-", ms=4, lw=1.2, color=colour, label=label)


def _expected(title: str, measure: str) -> tuple[list[int], list[float]]:
    reference = next(r for r in REFERENCES if r.title.startswith(title))
    cells = [c for c in reference.cells if c.measure == measure]
    return [c.n for c in cells], [c.expected for c in cells]


def _over_n(
    measures: Sequence[tuple[str, str]],
    ylabel: str,
    *,
    reference: tuple[str, str] | None = None,
    guide: Callable[[int], float] | None = None,
    guide_label: str = "N − 1",
) -> Callable[[Reproduction], Figure | None]:
    def draw(found: Reproduction) -> Figure | None:
        lines = [(label, _by_n(found.shown, measure)) for measure, label in measures]
        if not any(by_n for _, by_n in lines):
            return None
        figure = new_figure()
        axes = figure.add_subplot()
        for (label, by_n), colour, mark in zip(
            lines, class_colours(len(lines)), "osD^v", strict=False
        ):
            if by_n:
                _line(axes, by_n, label, colour, mark)
        n = sorted({n for _, by_n in lines for n in by_n})
        if guide is not None:
            axes.plot(n, [guide(k) for k in n], "--", color=MUTED, lw=1, label=guide_label)
        if reference is not None:
            at, values = _expected(*reference)
            axes.plot(at, values, "x", color=ALERT, ms=7, mew=1.5, label="paper")
        axes.set_xlabel("classes N")
        axes.set_ylabel(ylabel)
        axes.set_xticks(n)
        axes.legend()
        return figure

    return draw


def _accuracy(found: Reproduction) -> Figure | None:
    without, with_ties = (_accuracies(found.shown, kind) for kind in ("categorical", TIED))
    if not without and not with_ties:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    if without:
        _line(axes, without, "ours, phrases without ties", MUTED, "s")
    if with_ties:
        _line(axes, with_ties, "ours, phrases with ties", ACCENT, "o")
    at, values = _expected("Test accuracy", "accuracy")
    axes.plot(at, values, "x", color=ALERT, ms=7, mew=1.5, label="paper, with ties")
    axes.set_xlabel("classes N")
    axes.set_ylabel("test accuracy")
    axes.set_xticks(sorted(without | with_ties))
    axes.legend()
    return figure


def _time_constants(found: Reproduction) -> Figure | None:
    taus = [_by_n(found.shown, f"zero input: time constant {i}, median") for i in range(1, 9)]
    if not taus[0]:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    lines: list[Any] = []
    n_values = list(taus[0])
    for n, colour in zip(n_values, class_colours(len(n_values)), strict=True):
        medians = [fmean(by_n[n]) for by_n in taus if n in by_n]
        look: dict[str, Any] = {"ms": 3.5, "lw": 1, "color": colour, "label": f"N = {n}"}
        lines += axes.plot(range(1, len(medians) + 1), medians, "o-", **look)
    length = next(s.length for s in found.settings)
    axes.axhline(length, color=MUTED, lw=1, ls="--")
    axes.annotate(
        f"length of a phrase, {length}", (8, length), (0, 3), textcoords="offset points",
        ha="right", color=MUTED, fontsize=8,
    )  # fmt: skip
    axes.set_yscale("log")
    log_axis(axes.yaxis)
    axes.set_xlabel("mode, slowest first")
    axes.set_ylabel("time constant, words (median over points)")
    legend_below(figure, lines, columns=5)
    return figure


def _dots(size: float, colour: str) -> dict[str, Any]:
    return {"s": size, "color": colour, "linewidths": 0}


# -- one network ---------------------------------------------------------------------------------


def _network(
    found: Reproduction, kind: str, n: int, l2: float, cell: str = "gru"
) -> dict[str, torch.Tensor] | None:
    for s in found.settings:
        if (s.kind, s.n, s.l2, s.cell) == (kind, n, l2, cell):
            for seed in s.seeds:
                arrays = found.arrays(s, seed)
                if arrays is not None:
                    return arrays
    return None


def _states(
    kind: str, n: int, l2: float, classes: int, cell: str = "gru"
) -> Callable[[Reproduction], Figure | None]:
    """States in the first two components, or three where the task has three dimensions."""

    def draw(found: Reproduction) -> Figure | None:
        arrays = _network(found, kind, n, l2, cell)
        if arrays is None:
            return None
        three = kind == "multilabel" and n == 3
        figure = new_figure()
        axes = figure.add_subplot(projection="3d" if three else None)
        dims = 3 if three else 2
        visited, final, labels = arrays["visited"], arrays["final"], arrays["labels"]
        if labels.dim() == 2:
            labels = (labels.long() * 2 ** torch.arange(labels.shape[1])).sum(1)
        axes.scatter(*visited[:, :dims].T.numpy(), **_dots(2, FAINT), zorder=0)
        colours = class_colours(classes)
        for k in range(classes):
            axes.scatter(*final[labels == k][:, :dims].T.numpy(), **_dots(6, colours[k]))
        if not three:
            axes.plot(*arrays["paths"][0, :, :2].T.numpy(), color=INK, lw=0.7)
            size = float(final[:, :2].norm(dim=1).max())
            readout = arrays["readout"][:, :2]
            tips = 1.15 * size * readout / readout.norm(dim=1).max()
            # an arrow whose tip lies outside of the axes is not drawn at all
            axes.plot(*tips.T.numpy(), linestyle="none")
            for to in tips:
                axes.annotate(
                    "", to.tolist(), (0, 0), arrowprops={"arrowstyle": "->", "color": INK}
                )
            axes.set_aspect("equal", adjustable="datalim")
        shares = arrays["variance shares"]
        for axis, name in zip(range(dims), "xyz", strict=False):
            label = f"PC {axis + 1} ({100 * float(shares[axis]):.1f} %)"
            getattr(axes, f"set_{name}label")(label)
        return figure

    return draw


def _speed(found: Reproduction) -> Figure | None:
    arrays = _network(found, "categorical", 3, L2)
    if arrays is None or "grid" not in arrays:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    cells = round(len(arrays["grid"]) ** 0.5)
    x, y = (arrays["grid"][:, i].view(cells, cells).numpy() for i in (0, 1))
    q = arrays["grid speed"].view(cells, cells).log10().numpy()
    drawn = axes.pcolormesh(x, y, q, cmap="Greys_r", shading="nearest", rasterized=True)
    figure.colorbar(drawn, ax=axes, label="log10 q, input zero")
    answer = arrays["grid answer"].view(cells, cells).numpy()
    axes.contour(x, y, answer, levels=[0.5, 1.5], colors=ACCENT, linewidths=1)
    axes.scatter(*arrays["zero: slow points"][:, :2].T.numpy(), **_dots(4, "#e69f00"), label="slow")
    axes.scatter(
        *arrays["zero: fixed points"][:, :2].T.numpy(),
        **_dots(28, ALERT),
        marker="X",
        label="fixed",
    )
    axes.set_xlabel("PC 1")
    axes.set_ylabel("PC 2")
    axes.legend(loc="upper right", facecolor="white", frameon=True)
    return figure


def _cuts(found: Reproduction) -> Figure | None:
    figure = new_figure()
    axes = figure.add_subplot()
    lines: list[Any] = []
    settings = [s for s in found.settings if s.kind == "categorical" and s.l2 == L2]
    settings = sorted((s for s in settings if s.cell == "gru"), key=lambda s: s.n)
    for s, colour in zip(settings, class_colours(len(settings)), strict=True):
        arrays = _network(found, s.kind, s.n, s.l2)
        if arrays is None or "zero: cuts" not in arrays:
            continue
        lines += axes.plot(
            arrays["zero: cuts"].numpy(),
            arrays["zero: dimension by cut"].numpy(),
            "o-",
            ms=4,
            color=colour,
            label=f"N = {s.n}",
        )
    if not lines:
        return None
    axes.set_xscale("log")
    log_axis(axes.xaxis)
    axes.set_xlabel("largest speed q, over the squared size of a state")
    axes.set_ylabel("participation ratio of fixed and slow points")
    legend_below(figure, lines, columns=5)
    return figure


def _components(found: Reproduction) -> Figure | None:
    figure = new_figure()
    axes = figure.add_subplot()
    n_values = list(_by_n(found.shown, "participation ratio"))
    if not n_values:
        return None
    for n, colour in zip(n_values, class_colours(len(n_values)), strict=True):
        means = [
            (d, fmean(by_n[n]))
            for d in range(9)
            if n in (by_n := _by_n(found.shown, f"accuracy on {d} components"))
        ]
        axes.plot(*zip(*means, strict=True), "o-", ms=3.5, lw=1, color=colour, label=n)
    axes.set_xlabel("principal components that the readout is given")
    axes.set_ylabel("accuracy")
    axes.legend(title="classes N", ncols=2)
    return figure


def _deflections(found: Reproduction) -> Figure | None:
    arrays = _network(found, "categorical", 3, L2)
    if arrays is None:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    pushes, names = arrays["deflections"][:, :2], ["A", "B", "C", "neutral"]
    readout = arrays["readout"][:, :2]
    size = float(pushes.norm(dim=1).max())
    for w in readout:
        axes.plot(*zip((0, 0), (1.1 * size * w / w.norm()).tolist(), strict=True), ":", color=MUTED)
    colours = [*class_colours(3), INK]
    for to, name, colour in zip(pushes.tolist(), names, colours, strict=True):
        axes.annotate("", to, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.6})
        axes.annotate(name, to, (4, 4), textcoords="offset points", color=colour)
    reach = 1.35 * size
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xlabel("PC 1")
    axes.set_ylabel("PC 2")
    return figure


def _eigenvalues(found: Reproduction) -> Figure | None:
    arrays = _network(found, "categorical", 3, L2)
    if arrays is None or "zero: eigenvalues" not in arrays:
        return None
    figure = new_figure()
    axes = figure.add_subplot()
    turn = torch.linspace(0, 2 * torch.pi, 200)
    axes.plot(turn.cos().numpy(), turn.sin().numpy(), color=FAINT, lw=1)
    axes.scatter(*arrays["zero: eigenvalues"].T.numpy(), **_dots(10, ACCENT))
    axes.set_aspect("equal")
    axes.set_xlabel("real part")
    axes.set_ylabel("imaginary part")
    return figure


_N = "GRU, 128 units, mean and standard deviation over seeds; crosses: the paper, off its plot."
_FIGURES: tuple[tuple[str, str, str, Callable[[Reproduction], Figure | None]], ...] = (
    ("triangle", "3 classes: a triangle",
     "3 classes. Grey: visited states. Colours: final states by class. Line: one phrase. Arrows: "
     "readouts.", _states("categorical", 3, L2, 3)),
    ("ratio", "Participation ratio over N", f"Participation ratio of visited states. {_N}",
     _over_n((("participation ratio", "visited states"),
              ("zero input: participation ratio of fixed and slow points",
               "fixed and slow points, zero input")),
             "participation ratio", guide=lambda n: n - 1,
             reference=("Participation ratio for N", "participation ratio"))),
    ("components", "Components over N", f"Principal components for a share of the variance. {_N}",
     _over_n((("components for 90 %", "90 %"), ("components for 95 %", "95 %"),
              ("components for N/(N+1)", "N/(N+1)")), "components", guide=lambda n: n - 1)),
    ("neighbours", "Estimators from neighbours",
     f"They do not give N - 1. {_N}",
     _over_n((("maximum likelihood, k = 10, arithmetic mean", "maximum likelihood, arithmetic"),
              ("maximum likelihood, k = 10", "maximum likelihood, harmonic"),
              ("correlation dimension, nearest", "correlation dimension, nearest"),
              ("correlation dimension, all distances", "correlation dimension, all distances"),
              ("participation ratio", "participation ratio")), "dimension",
             guide=lambda n: n - 1)),
    ("angles", "Angles between readouts", f"Mean over pairs. {_N}",
     _over_n((("readout angle, mean", "readouts"),), "degrees",
             reference=("Angles between readouts", "readout angle, mean"),
             guide=lambda n: torch.rad2deg(torch.tensor(-1 / (n - 1)).arccos()).item(),
             guide_label="simplex")),
    ("inside", "Readouts inside the span of the others", f"1 in a simplex. {_N}",
     _over_n((("readout norm inside the span of the others", "readouts"),), "share of the norm")),
    ("accuracy", "Test accuracy", f"Five thousand fresh phrases a network. {_N}", _accuracy),
    ("predicted", "What word counts predict",
     f"Latent-semantic and bag-of-words prediction beside the states. {_N}",
     _over_n((("latent-semantic participation ratio", "class word counts"),
              ("bag of words, participation ratio", "bag of words"),
              ("participation ratio", "states of the network")), "participation ratio",
             guide=lambda n: n - 1)),
    ("shuffled", "Words in random order", f"Share of phrases whose answer stays. {_N}",
     _over_n((("same answer in random order", "same answer"),
              ("change of the final state in random order", "change of the state")),
             "share")),
    ("needed", "Accuracy on d components", "Final states on the first d principal components "
     "before the readout; GRU, mean over seeds.", _components),
    ("pushes", "3 classes: deflections by words", "How far each word moves a state, on average "
     "over visited ones, in the plane of the states; dotted: the readouts.", _deflections),
    ("speed", "3 classes: slow plane", "Speed q on the plane of the states (the other components "
     "at their mean), borders between answers, fixed and slow points.", _speed),
    ("cuts", "Dimension of fixed and slow points by the cut on speed",
     "A loose cut gives the dimension of the seeds, a strict one that of a few points.", _cuts),
    ("times", "Time constants", "Of the eight slowest modes at fixed and slow points, "
     "zero input held; GRU. Under the mean word they are longer, see rows.csv.",
     _time_constants),
    ("eigenvalues", "3 classes: eigenvalues", "Of the Jacobian at one "
     "fixed or slow point, zero input.", _eigenvalues),
    ("ordered3", "Ordered, 3 classes: a bent line", "L2 1e-2; as in the first figure.",
     _states("ordered", 3, 1e-2, 3)),
    ("ordered5", "Ordered, 5 classes: a horseshoe", "L2 1e-2; a GRU that resets first, as the "
     "paper's does.", _states("ordered", 5, 1e-2, 5, RESET_FIRST)),
    ("ordered5_gru", "Ordered, 5 classes, nn.GRU: a bow", "L2 1e-2; torch's GRU resets after the "
     "matrix product.", _states("ordered", 5, 1e-2, 5)),
    ("square", "2 labels: a square", "L2 5e-4; colours: the four combinations.",
     _states("multilabel", 2, L2, 4)),
    ("cube", "3 labels: a cube", "L2 5e-4; colours: the eight combinations.",
     _states("multilabel", 3, L2, 8)),
)  # fmt: skip
