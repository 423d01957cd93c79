"""Visited states in the plane of the first two principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dynprobe.report.figures.plane import (
    HALO,
    Array,
    arrow,
    keep_inside,
    name_at,
    percent_of_variance,
    plane_axes,
    radius,
    scaled_readouts,
    set_frame,
    xy,
)
from dynprobe.report.figures.style import (
    INK,
    MUTED,
    PALE,
    class_colours,
    darker,
    legend_below,
    new_figure,
    shown,
    styled,
)
from dynprobe.report.report import Report
from dynprobe.report.view import View

TITLE = "Where the states go"
#: Names of more classes than this would cover the picture.
MAX_NAMES = 20
#: Trajectories drawn where no class tells them apart.
UNKNOWN = 3


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """Cloud coloured by prediction, readout vectors, a few trajectories."""
    view = report.views.get(layer)
    if view is None or len(view.points) == 0:
        return None
    figure = new_figure()
    colours = _colours(view)
    if not float(view.variance_ratio[1]) > 1e-9:
        _over_time(figure, view, colours)
        return figure
    ax = plane_axes(figure, view)
    ax.set_title(TITLE)
    cloud = xy(view.points)
    ax.scatter(
        cloud[:, 0],
        cloud[:, 1],
        s=5,
        c=PALE if view.prediction is None else [colours[c] for c in view.prediction.tolist()],
        alpha=0.45,
        linewidths=0,
        rasterized=True,
    )
    classes = view.trajectory_class
    n = len(classes) if max(classes, default=-1) >= 0 else UNKNOWN
    paths = [xy(path) for path in view.trajectories[:n]]
    for path, c in zip(paths, classes, strict=False):
        _trajectory(ax, path, darker(colours[c]) if c >= 0 else INK)
    names = []
    tips = scaled_readouts(view, 1.05 * radius(cloud))
    if tips is not None:
        for tip, colour, name in zip(tips, colours, _names(view), strict=False):
            arrow(ax, tip, INK)
            if len(tips) <= MAX_NAMES:
                names.append(name_at(ax, tip, name, darker(colour), weight="bold"))
    # room for the names beyond the tips
    set_frame(ax, cloud, *paths, np.zeros((0, 2)) if tips is None else 1.15 * tips)
    legend_below(figure, _legend(view, colours, readouts=tips is not None), columns=4)
    keep_inside(figure, ax, names)
    return figure


def caption(report: Report, layer: str) -> str:
    """Say what the dots, lines and arrows are and what to look for."""
    view = report.views[layer]
    one = not float(view.variance_ratio[1]) > 1e-9
    if one:
        return (
            "The states vary along one direction only: PC 1 over time, for a few sequences from "
            "start (ring) to end (dot)."
        )
    share = 100 * float(view.variance_ratio[:2].sum())
    text = f"Visited states in the plane that holds {share:.0f} % of their variance"
    text += "" if view.prediction is None else ", coloured by the class the readout gives them"
    text += "; lines are single sequences."
    if scaled_readouts(view, 1.0) is not None:
        text += (
            " Arrows are the readout vectors as seen in this plane, drawn to the size of the "
            "cloud by one common factor: look for evidence pushing the state along them."
        )
    return text


def _names(view: View) -> list[str]:
    """Class names, completed where the readout has more classes than names."""
    n = 0 if view.readouts is None else len(view.readouts)
    if view.prediction is not None and len(view.prediction):
        n = max(n, int(view.prediction.max()) + 1)
    n = max(n, *view.trajectory_class, 0) if view.trajectory_class else n
    names = list(view.classes)
    return [shown(s) for s in names + [f"class {i}" for i in range(len(names), n)]]


def _colours(view: View) -> list[str]:
    return class_colours(max(len(_names(view)), 1 + max(view.trajectory_class, default=0)))


def _trajectory(ax: Axes, path: Array, colour: str) -> None:
    ax.plot(path[:, 0], path[:, 1], color=colour, linewidth=1.1, path_effects=HALO, zorder=3)
    ends: dict[str, Any] = {"markersize": 5.5, "markeredgewidth": 1.3, "zorder": 4}
    ax.plot(*path[0], "o", markerfacecolor="white", markeredgecolor=INK, **ends)
    ax.plot(*path[-1], "o", markerfacecolor=colour, markeredgecolor="white", **ends)


def _legend(view: View, colours: list[str], *, readouts: bool) -> list[Line2D]:
    handles = []
    if view.prediction is not None and not readouts:
        seen = view.prediction.unique().tolist()[:MAX_NAMES]
        names = _names(view)
        handles += [_dot(colours[c], names[c]) for c in seen]
    if view.trajectories:
        start = _dot("white", "start")
        start.set_markeredgecolor(INK)
        handles += [start, _dot(MUTED, "end of a sequence")]
    if readouts:
        handles.append(Line2D([], [], color=INK, marker=">", markersize=4, label="readout vector"))
    return handles


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", markersize=5.5, color=colour, label=label)


def _over_time(figure: Figure, view: View, colours: list[str]) -> None:
    """One-dimensional states have no plane: PC 1 over time instead."""
    ax = figure.add_subplot()
    ax.set_title(TITLE)
    ax.set_xlabel("step of the sequence")
    ax.set_ylabel(percent_of_variance(view, 0))
    for path, c in zip(view.trajectories, view.trajectory_class, strict=True):
        course = xy(path)[:, 0]
        steps = np.arange(len(course), dtype=np.float64)
        _trajectory(ax, np.stack([steps, course], axis=1), darker(colours[c]) if c >= 0 else INK)
    ax.locator_params(axis="x", integer=True)
    legend_below(figure, _legend(view, colours, readouts=False))
