"""Dimension of the fixed and slow points against how slow one asks them to be."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure

from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.analyzers.manifold_dimension import ManifoldDimensionResult
from dynprobe.report.figures.style import (
    ACCENT,
    ALERT,
    INK,
    MUTED,
    legend_below,
    new_figure,
    power_of_ten,
    styled,
    ticks_above,
)
from dynprobe.report.report import Report

TITLE = "Dimension of the slow points, by the cut on speed"


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """Participation ratio over the cut; above, the number of points that pass it."""
    found = _found(report, layer)
    if found is None:
        return None
    slow = found.slow_set
    figure = new_figure()
    ax = figure.add_subplot()
    ax.set_title(TITLE)
    ax.set_ylabel("participation ratio")
    ax.set_xlabel("largest speed q, in units of the squared state scale")
    ax.set_xscale("log")
    cuts, ratio = slow.cuts.numpy(), slow.participation_ratio
    known = ratio.isfinite().numpy()
    look: dict[str, Any] = {"color": ACCENT, "marker": "o", "markersize": 4, "linewidth": 1.3}
    points = ax.plot(cuts[known], ratio.numpy()[known], label="fixed and slow points", **look)
    handles: list[Any] = list(points)
    states = report.get("manifold_dimension", layer)
    if isinstance(states, ManifoldDimensionResult):
        visited = states.participation_ratio
        label = f"visited states {visited:.2f}"
        handles.append(ax.axhline(visited, color=ALERT, linestyle="--", linewidth=1.3, label=label))
        if states.n_classes is not None:
            label = f"N − 1 = {states.n_classes - 1}"
            expected = states.n_classes - 1
            handles.append(ax.axhline(expected, color=INK, linestyle=":", lw=1.2, label=label))
    if not known.any():
        where: dict[str, Any] = {
            "transform": ax.transAxes,
            "ha": "center",
            "va": "center",
            "color": MUTED,
        }
        ax.text(0.5, 0.5, "too few points at rest, or all at one place", **where)
    ax.set_xlim(cuts[0] / 3, cuts[-1] * 3)
    ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
    ax.set_xticks(cuts, [power_of_ten(math.log10(cut)) for cut in cuts])
    ax.minorticks_off()
    counts = [str(n) for n in slow.counts.tolist()]
    ticks_above(ax, cuts.tolist(), counts, "points at most this fast")
    legend_below(figure, handles)
    return figure


def caption(report: Report, layer: str) -> str:
    """What a curve that rises says."""
    found = _found(report, layer)
    assert found is not None
    seeds = found.n_fixed + found.n_slow + found.n_unconverged
    return (
        f"Participation ratio of those of {seeds} seeds that came to rest, by the largest speed "
        f"q = ½‖F(s) − s‖² allowed, in units of the squared state scale ({found.held} held). Those "
        "far to the left stand still; those that only pass a loose cut still move, and may have "
        "the dimension of the states they started from."
    )


def _found(report: Report, layer: str) -> FixedPointsResult | None:
    found = report.get("fixed_points", layer)
    return found if isinstance(found, FixedPointsResult) else None
