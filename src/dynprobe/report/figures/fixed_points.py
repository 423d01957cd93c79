"""Fixed and slow points over the visited states."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.dynamics.certificate import Status
from dynprobe.report.figures.plane import faint_cloud, plane_axes, set_frame, xy
from dynprobe.report.figures.style import (
    ALERT,
    FAINT,
    INK,
    MUTED,
    legend_below,
    new_figure,
    styled,
)
from dynprobe.report.report import Report

TITLE = "Where the dynamics stand still"


#: Without the yellow end, which is lost on a light ground.
SPEED = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0, 0.87, 256)))


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """Slow points by speed, certified fixed points by stability, the rest faint."""
    result, view = report.get("fixed_points", layer), report.views.get(layer)
    if result is None or view is None:
        return None
    figure = new_figure()
    ax = plane_axes(figure, view)
    ax.set_title(TITLE)
    cloud = xy(view.points)
    faint_cloud(ax, cloud)
    points, unique = result.points, result.unique
    slow = points[points.status == Status.SLOW]
    slow_xy = xy(view.project(slow.states))
    unique_xy = xy(view.project(unique.states))
    lost = xy(view.project(points[points.status == Status.UNCONVERGED].states))
    handles: list[Any] = [_dot(FAINT, "visited states")]
    if len(lost):
        # behind everything, and not part of the frame: they are no finding, and may lie anywhere
        handles.append(
            ax.scatter(
                lost[:, 0],
                lost[:, 1],
                s=12,
                marker="x",
                color=MUTED,
                alpha=0.5,
                linewidths=0.7,
                zorder=2,
                label=f"not converged ({len(lost)})",
            )
        )
    if len(slow):
        speed = np.log10(np.maximum(slow.speed.numpy(), np.finfo(np.float64).tiny))
        marks = ax.scatter(
            slow_xy[:, 0],
            slow_xy[:, 1],
            s=16,
            c=speed,
            cmap=SPEED,
            linewidths=0.3,
            edgecolors="white",
            zorder=3,
        )
        bar = figure.colorbar(marks, ax=ax, shrink=0.85, aspect=28, pad=0.02)
        bar.set_label("log₁₀ speed, ½‖F(s) − s‖² per step")
        bar.outline.set_visible(False)
        handles.append(_dot(SPEED(0.6), f"slow ({len(slow)})"))
    handles += _fixed(ax, unique_xy, result)
    set_frame(ax, cloud, slow_xy, unique_xy)
    legend_below(figure, handles)
    return figure


def caption(report: Report, layer: str) -> str:
    """Count the points and say what they mean."""
    result = report.get("fixed_points", layer)
    seeds = result.n_fixed + result.n_slow + result.n_unconverged
    distinct = (
        "1 fixed point is" if len(result.unique) == 1 else f"{len(result.unique)} fixed points are"
    )
    text = (
        f"Of {seeds} seeds, {result.n_fixed} came to rest on a fixed point, {result.n_slow} on a "
        f"slow point and {result.n_unconverged} on neither ({result.held} held); {distinct} "
        "distinct."
    )
    continuum = int(result.on_continuum.sum())
    if continuum:
        text += f" {continuum} of them lie on a continuum, where every state stays."
    if result.n_slow:
        text += " Look for slow points that line the cloud: there a state is remembered."
    return text


def _dot(colour: Any, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", markersize=4, color=colour, label=label)


def _fixed(ax: Axes, at: Any, result: FixedPointsResult) -> list[Any]:
    kinds = (
        ("on a continuum", result.on_continuum, "o", "white", 16),
        ("attractor", result.attractors, "o", INK, 55),
        ("saddle or repeller", result.saddles, "X", ALERT, 60),
    )
    handles = []
    for name, mask, marker, colour, size in kinds:
        which = mask.numpy()
        if which.any():
            handles.append(
                ax.scatter(
                    at[which, 0],
                    at[which, 1],
                    s=size,
                    marker=marker,
                    color=colour,
                    edgecolors=INK if colour == "white" else "white",
                    linewidths=1.0,
                    zorder=5,
                    label=f"{name} ({int(which.sum())})",
                )
            )
    return handles
