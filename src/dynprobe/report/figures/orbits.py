"""Periodic orbits: who follows whom."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from dynprobe.dynamics.orbits import PeriodicOrbits
from dynprobe.report.figures.coordinates import coordinates
from dynprobe.report.figures.plane import Array, faint_cloud, xy
from dynprobe.report.figures.style import (
    FAINT,
    INK,
    MUTED,
    class_colours,
    legend_below,
    new_figure,
    style,
)

#: As many orbits as the legend names.
NAMED = 8


def draw(
    orbits: PeriodicOrbits, *, directions: Tensor | None = None, cloud: Tensor | None = None
) -> Figure:
    """States in a plane, arrows from each to the next; filled where the orbit attracts.

    States of one number are drawn against their successors.
    """
    k, n = orbits.states.shape[1:]
    every = orbits.states.reshape(-1, n)
    behind = every.new_zeros(0, n) if cloud is None else cloud.reshape(-1, n).to(every)
    with style():
        figure = new_figure()
        ax = figure.add_subplot()
        ax.set_title(f"Orbits of period {k}")
        if len(orbits) == 0:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "none found", transform=ax.transAxes, ha="center", color=MUTED)
            return figure
        one = n == 1 or (directions is not None and len(directions) == 1)
        project, names = coordinates(torch.cat([every, behind]), 1 if one else 2, directions)
        at = project(orbits.states)
        if one:
            handles = _return_plot(ax, at, names[0])
            at = torch.cat([at, at.roll(-1, 1)], dim=-1)
        else:
            handles = _plane(ax, project(behind), names)
        named = _orbits(ax, at, orbits)
        if len(orbits) > NAMED:
            named.append(Line2D([], [], linestyle="", label=f"and {len(orbits) - NAMED} more"))
        ax.margins(0.12)
        legend_below(figure, named + handles, columns=2)
    return figure


def _return_plot(ax: Axes, at: Tensor, name: str) -> list[Line2D]:
    """Axes for a state of one number over the one before it, and where they are the same."""
    ax.set_xlabel(f"{name}, s(t)")
    ax.set_ylabel("the same one step on, s(t + 1)")
    ends = [float(at.min()), float(at.max())]
    return ax.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=0, label="s(t + 1) = s(t)")


def _plane(ax: Axes, behind: Tensor, names: list[str]) -> list[Line2D]:
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    if len(behind) == 0:
        return []
    faint_cloud(ax, xy(behind))
    return [_key(FAINT, "states given", stable=True)]


def _orbits(ax: Axes, at: Tensor, orbits: PeriodicOrbits) -> list[Line2D]:
    """All of them, and a key for the first few. `at` (orbits, k, 2)."""
    keys = []
    colours = class_colours(len(orbits))
    for points, colour, stable, multipliers in zip(
        at, colours, orbits.stable.tolist(), orbits.multipliers, strict=True
    ):
        _arrows(ax, xy(points), colour)
        _dots(ax, xy(points), colour, stable)
        largest = float(multipliers.abs().max())
        label = f"{'stable' if stable else 'unstable'}, |multiplier| {largest:.3g}"
        keys.append(_key(colour, label, stable))
    return keys[:NAMED]


def _arrows(ax: Axes, at: Array, colour: str) -> None:
    for a, b in zip(at, np.roll(at, -1, axis=0), strict=True):
        ax.annotate(
            "",
            xy=tuple(b),
            xytext=tuple(a),
            arrowprops={
                "arrowstyle": "-|>",
                "color": colour,
                "linewidth": 1.0,
                "shrinkA": 4,
                "shrinkB": 4,
                "alpha": 0.7,
            },
        )


def _dots(ax: Axes, at: Array, colour: str, stable: bool) -> None:
    ax.scatter(
        at[:, 0],
        at[:, 1],
        s=30,
        color=colour if stable else "white",
        edgecolors=INK if stable else colour,
        linewidths=0.8 if stable else 1.4,
        zorder=4,
    )


def _key(colour: str, label: str, stable: bool) -> Line2D:
    dot = Line2D([], [], linestyle="", marker="o", markersize=5, label=label)
    dot.set_color(colour)
    dot.set_markerfacecolor(colour if stable else "white")
    return dot
