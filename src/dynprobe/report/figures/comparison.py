"""The pictures of a comparison: aligned trajectories, spectra, similarities."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from dynprobe.report.comparison import MEMORY, NOTIONS, STREAM, Comparison, Plane, Similarity
from dynprobe.report.figures import Picture
from dynprobe.report.figures.style import (
    INK,
    MUTED,
    PALE,
    class_colours,
    darker,
    legend_below,
    shown,
    style,
    to_bytes,
)

PANEL = 3.1
#: Final states drawn of each model, components shown, names in a legend.
ENDS, COMPONENTS, NAMES = 600, 8, 12
WHAT = {STREAM: "what the classifier reads", MEMORY: "what the recurrence carries"}


def pictures(comparison: Comparison) -> Iterator[Picture]:
    """Draw all figures; one that cannot be drawn costs only itself."""
    drawings: list[tuple[str, str, Callable[[], Figure | None], Callable[[], str]]] = [
        *(
            (
                f"{notion}_planes",
                f"Trajectories of the {notion}",
                lambda notion=notion: planes(comparison, notion),
                lambda notion=notion: _planes_caption(comparison, notion),
            )
            for notion in NOTIONS
        ),
        ("spectra", "Dimensions in use", lambda: spectra(comparison), _spectra_caption),
        (
            "similarity",
            "How alike the states are",
            lambda: similarity(comparison),
            lambda: _similarity_caption(comparison),
        ),
    ]
    for name, title, draw, caption in drawings:
        try:
            with style():
                figure = draw()
            if figure is not None:
                yield Picture(name, title, caption(), figure)
        except Exception as error:
            yield Picture(name, title, "", None, f"{type(error).__name__}: {error}")


def save_pngs(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every figure as ``<figure>.png`` into a folder, created if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for picture in pictures(comparison):
        if picture.figure is None:
            warnings.warn(
                f"The figure {picture.name!r} could not be drawn: {picture.problem}", stacklevel=2
            )
            continue
        path = folder / f"{picture.name}.png"
        path.write_bytes(to_bytes(picture.figure, "png"))
        written.append(path)
    return written


def planes(comparison: Comparison, notion: str) -> Figure | None:
    """Each model's plane of two principal components, turned onto the first one's."""
    known = {
        n: comparison.planes[notion, n]
        for n in comparison.names
        if (notion, n) in comparison.planes
    }
    if not known:
        return None
    n_classes = max((*comparison.end_classes, *comparison.path_classes), default=-1) + 1
    colours = class_colours(max(n_classes, 1))
    figure = _figure(len(comparison.names), 1)
    _title(figure, f"{notion.capitalize()}: {WHAT[notion]}")
    axes = figure.subplots(1, len(comparison.names), squeeze=False)[0]
    limit = 1.08 * max(_reach(plane) for plane in known.values())
    for ax, name in zip(axes, comparison.names, strict=True):
        ax.set_title(shown(name, 24))
        ax.set_aspect("equal")
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit))
        ax.locator_params(nbins=5)
        if name in known:
            plane = known[name]
            _plane(ax, plane, comparison, colours)
            ax.set_xlabel(f"plane of PC 1 and 2: {100 * plane.share:.0f} % of variance")
        else:
            ax.text(0, 0, "unknown, see the table", ha="center", color=MUTED)
    axes[0].set_ylabel("turned onto the first model's\n(units of each model's spread)")
    names = [shown(c) for c in comparison.classes] if n_classes else []
    handles = [_dot(c, n) for c, n in zip(colours, names[:NAMES], strict=False)]
    legend_below(figure, [*handles, _ring()], columns=len(handles) + 1 if len(handles) < 6 else 5)
    return figure


def spectra(comparison: Comparison) -> Figure | None:
    """Share of the variance by component, a panel for each notion."""
    if not comparison.dimensions:
        return None
    colours = dict(zip(comparison.names, class_colours(len(comparison.names)), strict=True))
    figure = _figure(2, 1)
    _title(figure, "How many dimensions the states use")
    axes = figure.subplots(1, 2, sharey=True)
    with_null = False
    for ax, notion in zip(axes, NOTIONS, strict=True):
        ax.set_title(notion)
        ax.set_xlabel("principal component")
        for name in comparison.names:
            found = comparison.dimensions.get((notion, name))
            if found is None:
                continue
            share = 100 * found.shares.numpy()[:COMPONENTS]
            of = "" if found.of == "S" else f" ({found.of})"
            label = f"{shown(name, 22)}{of}: {found.participation_ratio:.1f}"
            at = np.arange(1, len(share) + 1)
            ax.plot(at, share, "-o", color=colours[name], markersize=4, linewidth=1.4, label=label)
            if found.null is not None:
                with_null = True
                null = 100 * found.null.shares.numpy()[:COMPONENTS]
                ax.plot(at[: len(null)], null, ":", color=colours[name], linewidth=1.3)
        if with_null and notion == MEMORY:
            ax.plot([], [], ":", color=INK, linewidth=1.3, label="random inputs")
        ax.set_xticks(np.arange(1, COMPONENTS + 1))
        if ax.get_legend_handles_labels()[0]:
            ax.legend(loc="upper right", title="participation ratio", title_fontsize=8)
    highest = [100 * float(d.shares[0]) for d in comparison.dimensions.values()]
    axes[0].set_ylim(0, 1.08 * max(highest))
    axes[0].set_ylabel("share of the variance (%)")
    return figure


def similarity(comparison: Comparison) -> Figure | None:
    """CKA of every pair with numbers, the angle and the control below."""
    if not comparison.similarity:
        return None
    size = max(1.0, 0.36 * len(comparison.names))
    figure = _figure(2, 1, width=size, height=size)
    _title(figure, "How alike the states are")
    axes = figure.subplots(1, 2)
    image: AxesImage | None = None
    for ax, notion in zip(axes, NOTIONS, strict=True):
        ax.set_title(notion)
        found = comparison.similarity.get(notion)
        if found is None:
            ax.set_axis_off()
            ax.text(0.5, 0.5, "fewer than two models have one", ha="center", color=MUTED)
            continue
        image = _heat(ax, found)
    assert image is not None, "a comparison keeps no empty similarity"
    figure.colorbar(image, ax=axes, label="CKA", shrink=0.75)
    return figure


def _heat(ax: Axes, found: Similarity) -> AxesImage:
    cka = found.cka.numpy()
    image = ax.imshow(cka, vmin=0, vmax=1, cmap="Blues")
    degrees = np.rad2deg(found.angle.numpy())
    for i in range(len(cka)):
        for j in range(len(cka)):
            colour = "white" if cka[i, j] > 0.5 else INK
            ax.text(j, i - 0.08, f"{cka[i, j]:.2f}", ha="center", color=colour, fontsize=13)
            if i != j:
                below = f"angle {degrees[i, j]:.0f}°\nexchanged {found.control[i, j]:.2f}"
                ax.text(j, i + 0.08, below, ha="center", va="top", color=colour, fontsize=8)
    names = [shown(n, 20) for n in found.names]
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names, rotation=90, va="center")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return image


def _figure(columns: int, rows: int, *, width: float = 1.0, height: float = 1.0) -> Figure:
    size = (max(2, columns) * PANEL * width + 0.5, rows * PANEL * height + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _title(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")


def _plane(ax: Axes, plane: Plane, comparison: Comparison, colours: list[str]) -> None:
    ends = plane.ends.numpy()[:ENDS]
    classes = comparison.end_classes[:ENDS]
    ax.scatter(
        ends[:, 0],
        ends[:, 1],
        s=8,
        c=[colours[c] if c >= 0 else PALE for c in classes],
        alpha=0.5,
        linewidths=0,
        rasterized=True,
    )
    for path, c in zip(plane.paths, comparison.path_classes, strict=True):
        line = path.numpy()
        colour = darker(colours[c]) if c >= 0 else INK
        ax.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.8, alpha=0.85, zorder=3)
        ax.plot(*line[0], "o", mfc="white", mec=INK, markersize=4, zorder=4)
        ax.plot(*line[-1], "o", mfc=colour, mec="white", mew=0.8, markersize=5, zorder=5)


def _reach(plane: Plane) -> float:
    reach = max([float(plane.ends.abs().max()), *(float(p.abs().max()) for p in plane.paths)])
    return reach or 1.0


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", markersize=5.5, color=colour, label=label)


def _ring() -> Line2D:
    return Line2D(
        [], [], linestyle="", marker="o", mfc="white", mec=INK, markersize=4, label="first step"
    )


def _planes_caption(comparison: Comparison, notion: str) -> str:
    known = any(c >= 0 for c in comparison.end_classes)
    coloured = ", coloured by class" if known else ""
    text = (
        f"The {notion}, {WHAT[notion]}, in the first two principal components of each model. Dots "
        f"are final states{coloured}; lines are the same few sequences in every panel, "
        "from the first step (ring) to the last (large dot). "
        "Planes are turned (and reflected) onto the first model's, so that what can be made to "
        "look alike by turning does look alike."
    )
    divided = [
        name
        for name in comparison.names
        if (found := comparison.dimensions.get((notion, name))) is not None and found.of == "S/z"
    ]
    if divided:
        text += f" Of {', '.join(divided)} the memory divided by its normaliser, S/z, is shown."
    return text


def _spectra_caption() -> str:
    return (
        "Equal dimensions fall off after the same component. Dotted: the same recurrence with its "
        "inputs in random order, which a matrix memory has to differ from before its spectrum says "
        "anything."
    )


def _similarity_caption(comparison: Comparison) -> str:
    points = max(found.points for found in comparison.similarity.values())
    return (
        f"Debiased linear CKA at {points:,} places of the sequences: 1 is the same geometry up to "
        "rotation and scale. Angle: Procrustes distance, 0° is the same, 90° unrelated. Exchanged: "
        "CKA with the sequences of one model exchanged at random, the place in the sequence kept."
    )
