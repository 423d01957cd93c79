"""Share of the variance on each principal component."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dynprobe.report.figures.style import (
    ACCENT,
    ALERT,
    INK,
    MUTED,
    PALE,
    legend_below,
    new_figure,
    styled,
)
from dynprobe.report.report import Report

TITLE = "How many dimensions the states use"
SHOWN = 12


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """Bars for each component, a line for their sum, the participation ratio and N-1."""
    result = report.get("manifold_dimension", layer)
    if result is None:
        return None
    share = 100 * np.asarray(result.visited.variance_ratio, dtype=np.float64)
    if not np.isfinite(share).all():  # states that never move have no variance to share
        return None
    number = np.arange(1, min(SHOWN, len(share)) + 1)
    expected = 0 if result.n_classes is None else result.n_classes - 1
    figure = new_figure()
    ax = figure.add_subplot()
    ax.set_title(TITLE)
    ax.set_xlabel("principal component")
    ax.set_ylabel("variance of visited states (%)")
    inside = number <= expected
    handles: list[Any] = []
    heights = share[: len(number)]
    others = "each component" if not inside.any() else "components beyond"
    if inside.any():
        handles.append(
            ax.bar(
                number[inside],
                heights[inside],
                color=ACCENT,
                width=0.7,
                label=f"first N − 1 = {expected}",
            )
        )
    if not inside.all():
        handles.append(
            ax.bar(number[~inside], heights[~inside], color=PALE, width=0.7, label=others)
        )
    handles += ax.plot(
        number,
        share.cumsum()[: len(number)],
        "-o",
        color=INK,
        linewidth=1.2,
        markersize=3.5,
        label="cumulative",
    )
    handles.append(
        ax.axvline(
            result.participation_ratio,
            color=ALERT,
            linestyle="--",
            linewidth=1.3,
            label=f"participation ratio {result.participation_ratio:.2f}",
        )
    )
    ax.axhline(95, color=MUTED, linewidth=0.7, linestyle=":", zorder=0)
    beside = ax.get_yaxis_transform()
    ax.text(1.01, 95, "95 %", transform=beside, fontsize=7.5, color=MUTED, va="center")
    ax.set_ylim(0, 104)
    ax.set_xlim(0.4, max(len(number), min(result.participation_ratio, len(share)), 3) + 0.6)
    ax.set_xticks(number)
    legend_below(figure, handles, columns=2)
    return figure


def caption(report: Report, layer: str) -> str:
    """Give the dimension in numbers."""
    result = report.get("manifold_dimension", layer)
    n = result.components_95
    text = f"{n} component{' holds' if n == 1 else 's hold'} 95 % of the variance; the "
    text += f"participation ratio is {result.participation_ratio:.2f}."
    if result.n_classes is not None:
        text += (
            f" A {result.n_classes}-class integrator uses N − 1 = {result.n_classes - 1}: look for "
            "a sharp drop after that."
        )
    return text
