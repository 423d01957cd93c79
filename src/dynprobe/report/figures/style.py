"""The look of the figures: size, colours, type; and how a figure becomes bytes."""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

if TYPE_CHECKING:
    from dynprobe.report.report import Report

Draw = Callable[["Report", str], Figure | None]

SIZE = (5.0, 4.0)
INK = "#1f2430"
MUTED = "#6b7280"
FAINT = "#d5d9e0"
ACCENT = "#0072b2"
PALE = "#a9cbe2"
ALERT = "#d55e00"
#: Okabe & Ito's colours without black and yellow: told apart with any colour vision.
CLASS_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f")

_RC = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same figure on every machine
    "font.size": 9,
    "text.color": INK,
    # names of tokens and classes may hold dollar signs; they are no formulas
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "svg.fonttype": "path",
    "svg.hashsalt": "dynprobe",
}


@contextmanager
def style() -> Iterator[None]:
    """Our look on top of matplotlib's defaults, whatever the user set; undone at the end."""
    with matplotlib.style.context(["default", _RC]), warnings.catch_warnings():
        # a character the font lacks (an emoji among the tokens) is drawn as a box
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def styled(draw: Draw) -> Draw:
    """Draw in our style."""

    @functools.wraps(draw)
    def wrapped(report: Report, layer: str) -> Figure | None:
        with style():
            return draw(report, layer)

    return wrapped


def new_figure() -> Figure:
    """Empty figure of the common size, with a canvas of its own and no window."""
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def log_axis(axis: Axis) -> None:
    """Write the ticks of an axis with a logarithmic scale as numbers.

    matplotlib writes them as formulas, which stay unread here: names could hold dollar signs.
    """
    axis.set_major_formatter(_Numbers())
    axis.set_minor_formatter(_Numbers())


class _Numbers(LogFormatter):
    """Labels the ticks that matplotlib would label: 0.02, 500, 3·10⁻⁷."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return _number(x) if x > 0 and super().__call__(x, pos) else ""


def _number(x: float) -> str:
    power = math.floor(math.log10(x) + 1e-9)
    if -4 < power < 5:
        return f"{x:,.4g}"
    mantissa = f"{x / 10.0**power:.3g}"
    return ("" if mantissa == "1" else f"{mantissa}·") + power_of_ten(power)


def power_of_ten(exponent: float) -> str:
    """A power of ten in plain text: 10⁻³, 10¹·⁵."""
    return "10" + f"{exponent:.3g}".translate(str.maketrans("-.0123456789", "⁻·⁰¹²³⁴⁵⁶⁷⁸⁹"))


def ticks_above(ax: Axes, at: Sequence[float], labels: Sequence[str], title: str) -> None:
    """A second reading of the horizontal axis, over the plot; call it when the limits are set."""
    above = ax.twiny()
    above.set_xscale(ax.get_xscale())
    above.set_xlim(ax.get_xlim())
    above.set_xticks(at, labels)
    above.minorticks_off()
    above.tick_params(length=0, colors=MUTED, labelcolor=MUTED, labelsize=7.5)
    above.set_xlabel(title, fontsize=7.5, color=MUTED)


def legend_below(figure: Figure, handles: list[Any], columns: int = 3) -> None:
    """Put a legend under the axes, where it hides nothing."""
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)))


def class_colours(n: int) -> list[str]:
    """One colour for each of n classes."""
    if n <= len(CLASS_COLOURS):
        return list(CLASS_COLOURS[:n])
    ramp = matplotlib.colormaps["viridis"]
    return [to_hex(ramp(0.95 * i / (n - 1))) for i in range(n)]


def darker(colour: str, share: float = 0.35) -> str:
    """Mix a colour with black, to be legible as text and as a line over its own dots."""
    r, g, b = to_rgb(colour)
    return to_hex((r * (1 - share), g * (1 - share), b * (1 - share)))


def shown(name: str, limit: int = 18) -> str:
    """Make a token or class name fit for a figure: spaces and control characters visible."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    inner = text.strip(" ")
    left = len(text) - len(text.lstrip(" "))
    text = "␣" * left + inner + "␣" * (len(text) - left - len(inner)) if inner else "␣" * len(text)
    return (text if len(text) <= limit else text[: limit - 1] + "…") or "(empty)"


def to_bytes(figure: Figure, fmt: str, dpi: int = 200) -> bytes:
    """Render as "svg" or "png"; `dpi` also holds for what is rasterised inside an SVG."""
    buffer = io.BytesIO()
    # without a date the same report gives the same bytes
    metadata = {"Date": None} if fmt == "svg" else None
    with style():
        figure.savefig(buffer, format=fmt, dpi=dpi, metadata=metadata)
    return buffer.getvalue()
