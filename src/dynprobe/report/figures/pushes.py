"""What is left of pushes off a manifold, and along it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dynprobe.dynamics.pushes import GREW, RETURNED, Attraction, Response
from dynprobe.report.figures.style import (
    ACCENT,
    ALERT,
    MUTED,
    legend_below,
    log_axis,
    new_figure,
    style,
)

#: Lines leave the picture here: next to nothing of the push is left.
FLOOR = 1e-4


def draw(result: Attraction) -> Figure:
    """Off and along the manifold over steps, one panel for pushes off and one for the control."""
    panels = [(result.off, "Pushed off the manifold")]
    if result.along is not None:
        panels.append((result.along, "Pushed along it (control)"))
    else:
        panels = [(result.off, "Pushed in any direction")]
    with style():
        figure = new_figure()
        if len(panels) > 1:
            figure.set_size_inches(7.5, 4.0)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        handles: list[Any] = []
        for ax, (response, title) in zip(axes, panels, strict=True):
            ax.set_title(f"{title}: {response.answer}")
            ax.set_xlabel("steps after the push")
            handles = _parts(ax, response, both=result.along is not None)
        axes[0].set_yscale("log")
        log_axis(axes[0].yaxis)
        axes[0].set_ylabel("distance from the run without it,\nas a share of the push")
        low = axes[0].get_ylim()[0]
        high = max(float(_drawn(r.percentiles(r.total)).max()) for r, _ in panels)
        axes[0].set_ylim(max(low, FLOOR), 1.5 * max(high, GREW))
        legend_below(figure, handles, columns=2 * len(panels))
    return figure


def _parts(ax: Axes, response: Response, *, both: bool) -> list[Any]:
    parts = [("off the manifold", response.off, ACCENT), ("along it", response.along, ALERT)]
    handles: list[Any] = []
    for label, part, colour in parts if both else [("distance", response.total, ACCENT)]:
        low, middle, high = (_drawn(p) for p in response.percentiles(part))
        step = np.arange(len(middle))
        ax.fill_between(step, low, high, color=colour, alpha=0.18, linewidth=0)
        handles += ax.plot(step, middle, color=colour, linewidth=1.6, label=f"{label} (median)")
    band = ax.fill_between([], [], [], color=MUTED, alpha=0.25, linewidth=0)
    band.set_label("10th to 90th percentile")
    for cut in (RETURNED, GREW):
        line = ax.axhline(cut, color=MUTED, linewidth=0.7, linestyle=":", zorder=0)
    line.set_label(f"cuts: {RETURNED:g} returned, {GREW:g} grown")
    return [*handles, band, line]


def _drawn(share: Tensor) -> Any:
    """What a logarithmic axis can hold."""
    return share.clamp(1e-30, 1e6).numpy()
