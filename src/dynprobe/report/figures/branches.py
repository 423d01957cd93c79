"""Branches of fixed points over the input: what a bifurcation diagram shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from dynprobe.dynamics.branches import Branch, Branches
from dynprobe.dynamics.fixed_points import MERGE
from dynprobe.dynamics.marks import Kind, Mark
from dynprobe.report.figures.coordinates import coordinates
from dynprobe.report.figures.style import ACCENT, ALERT, INK, legend_below, new_figure, style

TITLE = "Fixed points as the input moves"
MARKS = {Kind.FOLD: ("o", "white"), Kind.BRANCH_POINT: ("D", INK)}


def draw(branches: Branches, *, directions: Tensor | None = None) -> Figure:
    """States over mu: stable solid, unstable dashed, folds and branch points marked."""
    every = torch.cat([b.states for b in branches])
    project, names = coordinates(every, 1, directions)
    with style():
        figure = new_figure()
        ax = figure.add_subplot()
        ax.set_title(TITLE)
        ax.set_xlabel("position μ of the input between x₀ (0) and x₁ (1)")
        ax.set_ylabel(names[0])
        for branch in branches:
            _line(ax, branch, project(branch.states)[:, 0].numpy())
        counts = _distinct(branches)
        for kind, some in counts.items():
            marker, face = MARKS[kind]
            if some:
                ax.plot(
                    [m.position for m in some],
                    [float(project(m.state[None])[0, 0]) for m in some],
                    linestyle="",
                    marker=marker,
                    markersize=6,
                    color=face,
                    markeredgecolor=INK,
                    zorder=4,
                )
        legend_below(figure, _handles(branches, counts))
    return figure


def _distinct(branches: Branches) -> dict[Kind, list[Mark]]:
    """Marks of each kind; a branch point belongs to both branches and is drawn once."""
    kept: dict[Kind, list[Mark]] = {kind: [] for kind in Kind}
    for mark in (m for b in branches for m in b.marks):
        if not any(
            abs(mark.position - other.position) <= MERGE
            and float((mark.state - other.state).norm()) <= MERGE * branches.scale
            for other in kept[mark.kind]
        ):
            kept[mark.kind].append(mark)
    return kept


def _line(ax: Axes, branch: Branch, height: Any) -> None:
    """Pieces of one stability; a fold between two points belongs to both."""
    mu, stable = branch.position.numpy(), branch.stable.numpy()
    change = np.flatnonzero(stable[1:] != stable[:-1]) + 1
    pieces = np.split(np.arange(len(mu)), change)
    for k, piece in enumerate(pieces):
        colour, dashes = _look(bool(stable[piece[0]]))
        on = np.append(piece, piece[-1] + 1) if k + 1 < len(pieces) else piece
        marker = "" if len(on) > 1 else "."
        ax.plot(mu[on], height[on], color=colour, linestyle=dashes, marker=marker, linewidth=1.6)


def _look(stable: bool) -> tuple[str, Any]:
    return (ACCENT, "-") if stable else (ALERT, (0, (4, 2)))


def _handles(branches: Branches, counts: dict[Kind, list[Mark]]) -> list[Line2D]:
    handles = []
    for stable, label in ((True, "stable"), (False, "unstable")):
        if any(bool((b.stable == stable).any()) for b in branches):
            colour, dashes = _look(stable)
            handles.append(Line2D([], [], color=colour, linestyle=dashes, label=label))
    for kind, some in counts.items():
        if some:
            marker, face = MARKS[kind]
            label = f"{kind} ({len(some)})"
            dot = Line2D([], [], linestyle="", marker=marker, markersize=6, color=face, label=label)
            dot.set_markeredgecolor(INK)
            handles.append(dot)
    return handles
