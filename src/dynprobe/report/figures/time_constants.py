"""Time constants of the slowest modes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dynprobe.report.figures.style import (
    ACCENT,
    ALERT,
    PALE,
    legend_below,
    new_figure,
    styled,
)
from dynprobe.report.report import Report

TITLE = "How long each mode remembers"
#: Beyond this many sequence lengths a mode does not fade: its eigenvalue is 1 up to rounding.
ENDLESS = 1e5
#: Below this many it is gone within a step and stands on the left edge.
SHORTEST = 1e-3


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """Percentiles 10 to 90 of each mode on a log axis, with the sequence length."""
    result = report.get("integration_direction", layer)
    if result is None:
        return None
    taus = np.asarray(result.time_constants, dtype=np.float64)
    taus = taus[np.isfinite(taus[:, 1]) | np.isposinf(taus[:, 1])]
    if len(taus) == 0:
        return None
    length = result.sequence_length
    taus[taus > ENDLESS * length] = np.inf
    ends = np.append(taus[np.isfinite(taus) & (taus > SHORTEST * length)], length)
    low, high = ends.min() / 1.6, ends.max() * (8.0 if np.isposinf(taus).any() else 1.6)
    taus = np.clip(np.nan_to_num(taus, nan=low, posinf=high), low, high)
    figure = new_figure()
    ax = figure.add_subplot()
    ax.set_title(TITLE)
    ax.set_xscale("log")
    mode = np.arange(1, len(taus) + 1)
    handles: list[Any] = []
    if (taus[:, 2] > taus[:, 0]).any():
        spread = "10th to 90th percentile"
        handles.append(
            ax.hlines(mode, taus[:, 0], taus[:, 2], color=PALE, linewidth=7, label=spread)
        )
    handles += ax.plot(taus[:, 1], mode, "o", color=ACCENT, markersize=6, label="median")
    line = ax.axvline(length, color=ALERT, linestyle="--", linewidth=1.3)
    line.set_label(f"sequence length, {length:g} {result.unit}")
    handles.append(line)
    # what is infinite stands on the edge, as an arrow that points beyond it
    endless = taus[:, 1] >= high
    if endless.any():
        handles += ax.plot(
            taus[endless, 1],
            mode[endless],
            ">",
            color=ACCENT,
            markersize=9,
            clip_on=False,
            label="never fades",
        )
    ax.set_xlim(low, high)
    ax.set_ylim(len(taus) + 0.6, 0.4)
    ax.set_yticks(mode)
    ax.set_ylabel("mode")
    ax.set_xlabel(f"time constant τ ({result.unit})")
    # plain numbers: powers would need the formula parser that names must not meet
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}" if x < 1e5 else f"{x:.0e}"))
    ax.xaxis.set_minor_locator(NullLocator())
    legend_below(figure, handles, columns=2)
    return figure


def caption(report: Report, layer: str) -> str:
    """Count the modes that last for a sequence."""
    result = report.get("integration_direction", layer)
    points = "1 point" if result.n_points == 1 else f"{result.n_points} fixed or slow points"
    return (
        f"Time for a mode to change by a factor e, over {points}. Modes at or right of the line "
        f"last for a whole sequence: an integrator has as many as dimensions; "
        f"here the median is {result.n_integrating}."
    )
