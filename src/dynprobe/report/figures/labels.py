"""Names beside dots, without one over another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from dynprobe.report.figures.plane import HALO, Array
from dynprobe.report.figures.style import INK

#: Offset in points, horizontal and vertical alignment.
Place: TypeAlias = tuple[
    float, float, Literal["left", "center", "right"], Literal["bottom", "center", "top"]
]
#: Directions tried for a name, best first.
_DIRECTIONS: tuple[Place, ...] = (
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (1, 1, "left", "bottom"),
    (-1, 1, "right", "bottom"),
    (1, -1, "left", "top"),
    (-1, -1, "right", "top"),
)
NEAR, FAR = 4.0, 10.0
#: Pixels kept free around a name.
GAP = 1.5
#: Half the side of the square around a dot that names keep off, in pixels at the canvas' dpi.
DOT = 2.5


@dataclass(frozen=True)
class Label:
    """A name and the dot it belongs to, in data coordinates."""

    text: str
    x: float
    y: float


def place_labels(
    figure: Figure,
    ax: Axes,
    labels: list[Label],
    *,
    avoid: Array,
    beside: Sequence[Artist] = (),
    keep_all: bool = False,
    **font: Any,
) -> int:
    """Write names in order of importance; one that fits nowhere is left out.

    Parameters
    ----------
    figure, ax
        Axes whose limits are final.
    labels
        The most important first.
    avoid
        (points, 2), dots that no name may cover.
    beside
        Texts already there.
    keep_all
        Write also those that fit nowhere, over what is there.
    **font
        Size and weight.

    Returns
    -------
    int
        How many were written.
    """
    figure.draw_without_rendering()  # the layout settles where the dots are on the page
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    frame = ax.get_window_extent(renderer)
    taken = [artist.get_window_extent(renderer) for artist in beside]
    for x, y in ax.transData.transform(avoid):
        taken.append(Bbox.from_extents(x - DOT, y - DOT, x + DOT, y + DOT))
    written = 0
    for label in labels:
        # far from its dot a name could be taken for another's: only where all have to be there
        texts = [
            _write(ax, label, (d * x, d * y, ha, va), font)
            for d in ((NEAR, FAR) if keep_all else (NEAR,))
            for x, y, ha, va in _DIRECTIONS
        ]
        boxes = [text.get_window_extent(renderer) for text in texts]
        free = [
            i
            for i, box in enumerate(boxes)
            if _inside(box, frame) and not any(box.padded(GAP).overlaps(other) for other in taken)
        ]
        chosen = free[0] if free else 0 if keep_all else None
        for i, text in enumerate(texts):
            if i != chosen:
                text.remove()
        if chosen is not None:
            taken.append(boxes[chosen])
            written += 1
    return written


def _write(ax: Axes, label: Label, place: Place, font: dict[str, Any]) -> Annotation:
    dx, dy, ha, va = place
    text = ax.annotate(
        label.text,
        xy=(label.x, label.y),
        xytext=(dx, dy),
        textcoords="offset points",
        ha=ha,
        va=va,
        color=INK,
        path_effects=HALO,
        zorder=6,
        **font,
    )
    text.set_in_layout(False)
    return text


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(
        box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
    )
