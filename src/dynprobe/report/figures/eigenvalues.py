"""Eigenvalues of the recurrence at fixed and slow points."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle

from dynprobe.report.figures.plane import Array
from dynprobe.report.figures.style import (
    ACCENT,
    ALERT,
    INK,
    MUTED,
    legend_below,
    new_figure,
    styled,
)
from dynprobe.report.report import Report

TITLE = "How fast each mode forgets: eigenvalues"
#: Guide circles |lambda| = exp(-1 / tau), in steps.
GUIDES = (10, 50)
#: Rounding in the eigenvalues of a continuum.
OUTSIDE = 1 + 1e-9


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """Complex plane, whole and near 1."""
    result = report.get("integration_direction", layer)
    if result is None or result.eigenvalues.numel() == 0:
        return None
    values = np.asarray(result.eigenvalues).ravel()
    values = values[np.isfinite(values)]
    figure = new_figure()
    figure.suptitle(TITLE, x=0.02, ha="left", fontsize=10, weight="bold", color=INK)
    whole, near = figure.subplots(1, 2, width_ratios=(1, 1.5))
    width = _zoom_width(np.abs(np.asarray(result.eigenvalues)))
    for ax in (whole, near):
        ax.set_aspect("equal", adjustable="box")
        _circles(ax)
        _dots(ax, values)
        ax.set_xlabel("real part")
        ax.locator_params(nbins=5)
    whole.set_ylabel("imaginary part")
    reach = max(1.08, 1 + 0.18 * width, 1.05 * float(np.abs(values).max(initial=0)))
    whole.set_xlim(-reach, reach)
    whole.set_ylim(-reach, reach)
    whole.set_title("all", weight="normal", fontsize=9)
    left, half = 1 + 0.15 * width - width, 0.6 * width
    near.set_xlim(left, left + width)
    near.set_ylim(-half, half)
    near.set_title("near 1", weight="normal", fontsize=9)
    zoomed = Rectangle((left, -half), width, 2 * half, fill=False, edgecolor=INK, linewidth=0.8)
    zoomed.set_zorder(4)
    whole.add_patch(zoomed)
    for tau, height in zip(GUIDES, (-0.9, 0.9), strict=True):  # apart where they are close
        _guide_label(near, tau, height * half)
    legend_below(figure, _legend(values), columns=3)
    return figure


def caption(report: Report, layer: str) -> str:
    """Explain the circles."""
    result = report.get("integration_direction", layer)
    magnitude = result.eigenvalues.abs()
    outside = int((magnitude > OUTSIDE).sum())
    points = "1 point" if result.n_points == 1 else f"{result.n_points} fixed or slow points"
    text = (
        f"Eigenvalues of the Jacobian at {points}. A mode on the unit circle keeps what it holds; "
        "on a dashed circle it fades by 1/e in 10 or 50 steps."
    )
    return text + (
        f" {outside} of {magnitude.numel():,} lie outside: these grow." if outside else ""
    )


def _dots(ax: Axes, values: Array) -> None:
    grows = np.abs(values) > OUTSIDE
    size, alpha = (7, 0.35) if len(values) > 300 else (16, 0.7)
    for which, colour in ((~grows, ACCENT), (grows, ALERT)):
        ax.scatter(
            values[which].real,
            values[which].imag,
            s=size,
            color=colour,
            alpha=alpha,
            linewidths=0,
            rasterized=True,
            zorder=3,
        )


def _circles(ax: Axes) -> None:
    ax.add_patch(Circle((0, 0), 1, fill=False, color=INK, linewidth=1.0, zorder=2))
    for tau in GUIDES:
        ax.add_patch(
            Circle(
                (0, 0),
                math.exp(-1 / tau),
                fill=False,
                color=MUTED,
                linewidth=0.7,
                linestyle=(0, (4, 3)),
                zorder=1,
            )
        )


def _guide_label(ax: Axes, tau: int, y: float) -> None:
    """Name a guide circle at a height, if it passes there."""
    r = math.exp(-1 / tau)
    if r > abs(y):
        x = math.sqrt(r * r - y * y)
        if ax.get_xlim()[0] < x < ax.get_xlim()[1]:
            ax.text(
                x,
                y,
                f"τ = {tau}",
                fontsize=7.5,
                color=MUTED,
                ha="center",
                va="center",
                # the circle that it names runs through its place
                bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 1.0},
                zorder=5,
            )


def _zoom_width(magnitude: Array) -> float:
    """Wide enough for the few slowest modes and the innermost guide."""
    fourth = float(np.median(magnitude[:, min(3, magnitude.shape[1] - 1)]))
    return min(max(1.5 * (1 - fourth), 0.24), 0.8)


def _legend(values: Array) -> list[Line2D]:
    def dot(colour: str, label: str) -> Line2D:
        return Line2D([], [], linestyle="", marker="o", markersize=4, color=colour, label=label)

    handles = [dot(ACCENT, "decays")]
    if (np.abs(values) > OUTSIDE).any():
        handles.append(dot(ALERT, "grows"))
    dashed = Line2D([], [], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    dashed.set_label("fades in τ = 10, 50 steps")
    return [*handles, dashed]
