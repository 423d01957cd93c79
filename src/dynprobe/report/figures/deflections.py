"""Mean push of each token in the plane of the first two principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from dynprobe.analyzers.token_deflections import Deflections
from dynprobe.report.figures.labels import Label, place_labels
from dynprobe.report.figures.plane import (
    Array,
    arrow,
    keep_inside,
    name_at,
    scaled_readouts,
    set_frame,
    xy,
)
from dynprobe.report.figures.style import (
    ACCENT,
    ALERT,
    FAINT,
    INK,
    MUTED,
    PALE,
    legend_below,
    new_figure,
    shown,
    styled,
)
from dynprobe.report.report import Report
from dynprobe.report.view import View

TITLE = "Token deflections: mean push per occurrence"
#: Up to this many tokens each gets an arrow and its name.
FEW = 12
LABELLED = 25


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """Arrows for few tokens; dots and the longest ones' names for many."""
    view, found = report.views.get(layer), _found(report, layer)
    if view is None or found is None:
        return None
    turn = _to_view(report, view, layer)
    visited, exact, linear = (xy(p) @ turn for p in (found.visited, found.exact, found.linear))
    few = len(visited) <= FEW
    figure = new_figure()
    ax = figure.add_subplot()
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_title(TITLE)
    ax.set_xlabel("push along PC 1 (state units)")
    ax.set_ylabel("push along PC 2 (state units)")
    ax.locator_params(nbins=6)
    ax.axhline(0, color=FAINT, linewidth=0.7, zorder=0)
    ax.axvline(0, color=FAINT, linewidth=0.7, zorder=0)
    drawn = np.concatenate([visited, exact, linear]) if few else visited
    longest = float(np.hypot(drawn[:, 0], drawn[:, 1]).max())
    readouts = scaled_readouts(view, 1.1 * longest) if longest > 0 else None
    handles, beside = _readouts(ax, view, readouts)
    names = [shown(token) for token in found.tokens]
    tokens = _few(ax, visited, exact, linear) if few else _many(ax, visited)
    origin = np.zeros((1, 2))
    set_frame(ax, drawn, origin, origin if readouts is None else 1.1 * readouts, pad=0.1)
    legend_below(figure, tokens + handles, columns=2)
    keep_inside(figure, ax, beside)
    top = _longest(visited)
    place_labels(
        figure,
        ax,
        [Label(names[i], *visited[i]) for i in top],
        avoid=np.concatenate([drawn, _shafts(visited)]) if few else visited[top],
        beside=beside,
        keep_all=few,
        weight="bold" if few else "normal",
        fontsize=9 if few else 7.5,
    )
    return figure


def caption(report: Report, layer: str) -> str:
    """Name the strongest tokens."""
    found = _found(report, layer)
    assert found is not None
    text = "Mean change of the state by a token, over its occurrences. "
    if len(found.tokens) <= FEW:
        text += (
            "Circles and triangles are what the recurrence itself (exact) and its linearisation "
            "do at fixed and slow points. Look for evidence along its class and neutral tokens "
            "near zero."
        )
    else:
        length = found.visited.norm(dim=1)
        top = length.argsort(descending=True)[:3].tolist()
        strong = ", ".join(f"{shown(found.tokens[i])} ({float(length[i]):.2f})" for i in top)
        text += (
            f"{len(found.tokens)} tokens; the strongest: {strong}. Look for words of one class "
            "along its readout (grey, direction only), and for most words near zero."
        )
    return text


def _found(report: Report, layer: str) -> Deflections | None:
    result = report.get("integration_direction", layer)
    if result is None or result.deflections is None or not result.deflections.tokens:
        return None
    found: Deflections = result.deflections
    return found


def _to_view(report: Report, view: View, layer: str) -> Array:
    """(2, 2) from the plane the deflections were projected on to the plane of the view.

    Both are the first two principal components, but computed twice, batch by batch and at once:
    where two variances are nearly equal, rounding may swap signs.
    """
    dimension = report.get("manifold_dimension", layer)
    if dimension is None:
        return np.eye(2)
    turn = np.zeros((2, 2))
    plane = dimension.visited.components[:2]
    turn[: len(plane)] = (plane @ view.components[:2].T).numpy()
    return turn


def _readouts(ax: Axes, view: View, tips: Array | None) -> tuple[list[Line2D], list[Annotation]]:
    if tips is None:
        return [], []
    names = []
    for tip, name in zip(tips, view.classes, strict=False):
        ax.plot(
            [0, tip[0]], [0, tip[1]], color=FAINT, linewidth=3.5, solid_capstyle="round", zorder=1
        )
        names.append(name_at(ax, tip, shown(name), MUTED, style="italic", fontsize=8))
    return [Line2D([], [], color=FAINT, linewidth=3.5, label="readout direction")], names


def _few(ax: Axes, visited: Array, exact: Array, linear: Array) -> list[Line2D]:
    for tip in visited:
        arrow(ax, tip, ACCENT, width=1.8)
    hollow: dict[str, Any] = {
        "linestyle": "",
        "markerfacecolor": "none",
        "markersize": 5,
        "zorder": 6,
    }
    return [
        Line2D([], [], color=ACCENT, marker=">", markersize=5, label="recorded steps"),
        *ax.plot(*exact.T, marker="o", color=INK, label="exact, at slow points", **hollow),
        *ax.plot(*linear.T, marker="^", color=ALERT, label="linear, at slow points", **hollow),
    ]


def _shafts(tips: Array) -> Array:
    """Points along arrows from the origin."""
    along = np.linspace(0, 1, 15)
    return (along[:, None, None] * tips).reshape(-1, 2)


def _longest(visited: Array) -> list[int]:
    order = np.argsort(-np.hypot(visited[:, 0], visited[:, 1]), kind="stable")
    return [int(i) for i in order[:LABELLED]]


def _many(ax: Axes, visited: Array) -> list[Line2D]:
    top = _longest(visited)
    rest = np.setdiff1d(np.arange(len(visited)), top)
    dots: dict[str, Any] = {"linestyle": "", "marker": "o", "markeredgewidth": 0}
    return [
        *ax.plot(
            *visited[top].T,
            color=ACCENT,
            markersize=4,
            zorder=4,
            label=f"{len(top)} longest",
            **dots,
        ),
        *ax.plot(
            *visited[rest].T,
            color=PALE,
            markersize=3,
            zorder=3,
            label=f"{len(rest)} other tokens",
            **dots,
        ),
    ]
