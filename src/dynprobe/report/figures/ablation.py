"""The causal test: what is left when only the slow modes are kept, or when they are removed."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from dynprobe.analyzers.mode_ablation import ModeAblation, Outcome
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

TITLE = "Run with and without its slow modes"
WIDTH = 0.36


@styled
def draw(report: Report, layer: str) -> Figure | None:
    """Bars for slow modes and random directions, kept and removed; a dot for each random seed."""
    found = _found(report, layer)
    if found is None:
        return None
    figure = new_figure()
    ax = figure.add_subplot()
    ax.set_title(TITLE)
    groups = ((found.keep, found.random_keep), (found.remove, found.random_remove))
    for middle, (slow, controls) in enumerate(groups):
        left, right = middle - WIDTH / 2 - 0.02, middle + WIDTH / 2 + 0.02
        _bar(ax, left if controls else middle, slow.score, ACCENT)
        if controls:
            _controls(ax, right, controls)
    modes = "slow mode" if found.rank == 1 else f"{found.rank} slow modes"
    modes = f"all {found.n_modes} modes" if found.of_all else modes
    ax.set_xticks([0, 1], ["only these kept\nat every step", "these removed\nat every step"])
    ax.tick_params(axis="x", length=0, labelsize=9)
    ax.set_xlim(-0.6, 1.6)
    ax.set_xlabel("edit of the state")
    ax.set_ylim(0, 1.12)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    labelled = found.unedited.accuracy is not None
    ax.set_ylabel("accuracy" if labelled else "same answer as the unedited run")
    handles: list[Patch | Line2D] = [Patch(color=ACCENT, label=modes)]
    if found.random_keep:
        handles.append(
            Patch(color=PALE, label=f"random directions, {len(found.random_keep)} seeds")
        )
    handles += _lines(ax, found)
    legend_below(figure, handles, columns=2)
    return figure


def caption(report: Report, layer: str) -> str:
    """Say what was done, and what an integrator shows."""
    found = _found(report, layer)
    assert found is not None
    modes = "slow mode" if found.rank == 1 else f"{found.rank} slow modes"
    modes = f"all {found.n_modes} modes" if found.of_all else f"the {modes}"
    text = (
        f"{found.n_sequences} recorded sequences were run again while, at every step, the state "
        f"was projected on {modes} of one fixed or slow point, of largest |λ| (kept), or cleared "
        "of them (removed). An integrator keeps its accuracy with them alone and loses it without "
        "them."
    )
    if not math.isnan(found.remove.logit_spread):
        text += (
            f" Without them {100 * found.remove.logit_spread:.0f} % of the spread of its logits is "
            "left."
        )
    if found.labels_problem:
        text += f" No accuracy is known: {found.labels_problem}."
    if found.random_keep:
        text += f" Random directions span as many dimensions, {found.rank}."
    return text


def _found(report: Report, layer: str) -> ModeAblation | None:
    result = report.get("integration_direction", layer)
    if result is None:
        return None
    found: ModeAblation | None = result.ablation
    return found


def _bar(ax: Axes, x: float, height: float, colour: str) -> None:
    """A bar with its value at the foot, where no line or dot crosses it; above a low one."""
    ax.bar(x, height, width=WIDTH, color=colour, zorder=2)
    inside = height >= 0.1
    ax.text(
        x,
        0.03 if inside else height + 0.02,
        f"{100 * height:.0f} %",
        ha="center",
        color="white" if inside and colour == ACCENT else INK,
        weight="bold",
        zorder=5,
    )


def _controls(ax: Axes, x: float, outcomes: tuple[Outcome, ...]) -> None:
    """Mean bar and a dot for each seed, side by side so that equal ones are seen."""
    scores = [o.score for o in outcomes]
    _bar(ax, x, sum(scores) / len(scores), PALE)
    n = len(scores)
    at = [x + WIDTH * 0.7 * ((i + 0.5) / n - 0.5) for i in range(n)]
    ax.plot(at, scores, linestyle="", marker="o", markersize=3.5, color=MUTED, zorder=4)


def _lines(ax: Axes, found: ModeAblation) -> list[Line2D]:
    """The unedited run, where it has an accuracy, and always giving the most frequent answer."""
    labelled = found.unedited.accuracy is not None
    levels = [(found.unedited.score, INK, "-", "unedited")] if labelled else []
    constant = "most frequent label" if labelled else "its most frequent answer"
    levels.append((found.chance, ALERT, "--", constant))
    lines = []
    for level, colour, style, name in levels:
        line = ax.axhline(level, color=colour, linestyle=style, linewidth=1.3, zorder=3)
        line.set_label(f"{name}, {100 * level:.0f} %")
        lines.append(line)
    return lines
