"""What the figures in the plane of the first two principal components share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from numpy.typing import NDArray
from torch import Tensor

from dynprobe.report.figures.style import FAINT
from dynprobe.report.view import View

Array = NDArray[np.float64]
#: White rim that lifts lines and text off the dots below.
HALO = [withStroke(linewidth=2.5, foreground="white", alpha=0.85)]


def xy(points: Tensor | Array) -> Array:
    """First two columns of (n, k) points as float64; missing columns are zero."""
    array = np.asarray(points, dtype=np.float64)
    out = np.zeros((len(array), 2))
    out[:, : min(2, array.shape[1])] = array[:, :2]
    return out


def percent_of_variance(view: View, component: int) -> str:
    """Axis label of a principal component (0 or 1)."""
    share = float(view.variance_ratio[component])
    name = f"PC {component + 1}"
    return f"{name} ({100 * share:.1f} % of variance)" if math.isfinite(share) else name


def plane_axes(figure: Figure, view: View) -> Axes:
    """Axes with equal aspect: a distance means the same in both directions."""
    ax = figure.add_subplot()
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel(percent_of_variance(view, 0))
    ax.set_ylabel(percent_of_variance(view, 1))
    ax.locator_params(nbins=6)
    return ax


def set_frame(ax: Axes, *points: Array, pad: float = 0.07) -> None:
    """Limits that hold all the points; to be set after everything is drawn."""
    every = np.concatenate([p for p in points if len(p)])
    low, high = every.min(0), every.max(0)
    room = pad * float((high - low).max()) or 1.0
    ax.dataLim.set_points(np.stack([low - room, high + room]))
    # auto: equal aspect then widens one of them without complaint
    ax.set_xlim(low[0] - room, high[0] + room, auto=True)
    ax.set_ylim(low[1] - room, high[1] + room, auto=True)


def radius(points: Array) -> float:
    """Distance from the mean state that 98 % of the points keep within."""
    if len(points) == 0:
        return 1.0
    return float(np.quantile(np.hypot(points[:, 0], points[:, 1]), 0.98)) or 1.0


def faint_cloud(ax: Axes, cloud: Array) -> Any:
    """Visited states as a backdrop."""
    return ax.scatter(
        cloud[:, 0], cloud[:, 1], s=4, color=FAINT, linewidths=0, rasterized=True, zorder=1
    )


def scaled_readouts(view: View, length: float) -> Array | None:
    """Readout vectors in the plane, one factor for all, the longest of the given length."""
    if view.readouts is None:
        return None
    tips = xy(view.readouts)
    longest = float(np.hypot(tips[:, 0], tips[:, 1]).max())
    return tips * (length / longest) if longest > 0 else None


def keep_inside(figure: Figure, ax: Axes, names: list[Annotation]) -> None:
    """Shift names that stick out of the axes back in, once everything else is in place."""
    figure.draw_without_rendering()  # the layout settles where the axes are
    frame = ax.get_window_extent()
    for name in names:
        box = name.get_window_extent()
        right = max(0.0, frame.x0 - box.x0) - max(0.0, box.x1 - frame.x1)
        up = max(0.0, frame.y0 - box.y0) - max(0.0, box.y1 - frame.y1)
        dx, dy = name.xyann
        points = 72 / figure.dpi
        name.xyann = (dx + right * points, dy + up * points)


def arrow(ax: Axes, tip: Array, colour: str, *, width: float = 1.4, **style: Any) -> None:
    """Arrow from the origin."""
    drawn = ax.annotate(
        "",
        xy=(tip[0], tip[1]),
        xytext=(0, 0),
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "linewidth": width,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 7 + 2.5 * width,
            "path_effects": [withStroke(linewidth=width + 1.5, foreground="white")],
        }
        | style,
        zorder=5,
    )
    drawn.set_in_layout(False)


def name_at(ax: Axes, tip: Array, name: str, colour: str, **style: Any) -> Annotation:
    """Name just beyond the tip of an arrow."""
    length = float(np.hypot(*tip)) or 1.0
    dx, dy = tip / length
    label = ax.annotate(
        name,
        xy=(tip[0], tip[1]),
        xytext=(5 * dx, 5 * dy),
        textcoords="offset points",
        ha="left" if dx > 0.35 else "right" if dx < -0.35 else "center",
        va="bottom" if dy > 0.35 else "top" if dy < -0.35 else "center",
        color=colour,
        path_effects=HALO,
        zorder=7,
        **style,
    )
    label.set_in_layout(False)
    return label
