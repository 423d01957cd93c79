"""Dimension of the visited states against the size of the neighbourhood."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynprobe.analyzers.dimension_scale import DimensionScaleResult
from dynprobe.report.figures.style import (
    ALERT,
    CLASS_COLOURS,
    INK,
    legend_below,
    new_figure,
    styled,
    ticks_above,
)
from dynprobe.report.report import Report

TITLE = "Dimension by scale"
MARKERS = ("o", "s", "^", "D")


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """A curve for each estimator, with its interval; lines for what does not depend on scale."""
    result = _result(report, layer)
    if result is None or not result.scales.curves:
        return None
    figure = new_figure()
    ax = figure.add_subplot()
    ax.set_title(TITLE)
    ax.set_xlabel("neighbours")
    ax.set_ylabel("dimension of visited states")
    ax.set_xscale("log", base=2)
    handles: list[Any] = []
    looks = zip(result.scales.curves.items(), CLASS_COLOURS, MARKERS, strict=False)
    for (name, curve), colour, marker in looks:
        k = curve.neighbors.numpy()
        ax.fill_between(k, curve.low.numpy(), curve.high.numpy(), color=colour, alpha=0.2, lw=0)
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 4,
            "linewidth": 1.3,
        }
        handles += ax.plot(k, curve.dimension.numpy(), label=name, **look)
    ratio = result.linear.participation_ratio
    label = f"participation ratio {ratio:.2f}"
    handles.append(ax.axhline(ratio, color=ALERT, linestyle="--", linewidth=1.3, label=label))
    if result.linear.participation_ratio_interval is not None:
        ax.axhspan(*result.linear.participation_ratio_interval, color=ALERT, alpha=0.1, lw=0)
    if result.n_classes is not None:
        label = f"N − 1 = {result.n_classes - 1}"
        handles.append(
            ax.axhline(result.n_classes - 1, color=INK, linestyle=":", linewidth=1.2, label=label)
        )
    ax.set_ylim(0, 1.05 * ax.get_ylim()[1])
    _sizes(ax, result)
    legend_below(figure, handles)
    return figure


def caption(report: Report, layer: str) -> str:
    """How to read a curve."""
    result = _result(report, layer)
    assert result is not None
    scales = result.scales
    text = (
        f"{scales.n_points - scales.n_duplicates:,} distinct states; bands are 95 % intervals over "
        "states. Where a curve is flat, the states have that dimension over a range of scales. "
        "Curves need not come to N − 1: noise and what the last inputs left behind add dimensions "
        "at few neighbours, uneven density and edges take some away at many."
    )
    return text + "".join(f" {note}." for note in scales.notes)


def _result(report: Report, layer: str) -> DimensionScaleResult | None:
    result = report.get("dimension_scale", layer)
    return result if isinstance(result, DimensionScaleResult) else None


def _sizes(ax: Axes, result: DimensionScaleResult) -> None:
    """Neighbours below, and above how far away the farthest of them is."""
    longest = max(result.scales.curves.values(), key=lambda curve: len(curve.neighbors))
    sizes = longest.neighbors.tolist()
    ax.set_xticks(sizes, [str(k) for k in sizes])
    ax.minorticks_off()
    share = (longest.radius / result.scales.radius).tolist()
    label = "mean distance to the farthest, in radii of the cloud (rms)"
    ticks_above(ax, sizes, [f"{s:.2g}" for s in share], label)
