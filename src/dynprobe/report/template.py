"""Pages that need nothing else: no network, no files beside them."""

from __future__ import annotations

import base64
import datetime
import gzip
from dataclasses import dataclass
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from dynprobe.report.figures import Picture
from dynprobe.report.figures.style import to_bytes

#: An SVG above this is dots and text outlines by the hundred; a PNG is smaller.
MAX_SVG_BYTES = 250_000
RASTER_DPI = 160


@dataclass(frozen=True)
class Shown:
    """A figure ready for the page: its data URI, or why there is none.

    `name` is that of files made of it; `packed` its SVG, compressed, where the page shows a PNG.
    """

    title: str
    caption: str
    source: str
    problem: str
    name: str = ""
    packed: str = ""


def render(name: str, **values: Any) -> str:
    """Fill a template of this folder; what is filled in is escaped."""
    environment = Environment(
        loader=PackageLoader("dynprobe", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(name).render(**values)
    # a lone surrogate in a token has no UTF-8
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


def footer(seed: int) -> dict[str, str]:
    """What a page was made with."""
    from dynprobe import __version__

    return {
        "dynprobe": __version__,
        "torch": torch.__version__,
        "seed": str(seed),
        "written": datetime.date.today().isoformat(),
    }


def shown(picture: Picture, *, name: str = "") -> Shown:
    """Turn a picture into what the page shows; with a name, it can be saved from there."""
    source, packed, problem = "", "", picture.problem
    if picture.figure is not None:
        try:
            source, packed = _data_uri(picture.figure)
        except Exception as error:  # the figure may be a plugin's own
            problem = f"{type(error).__name__}: {error}"
    return Shown(picture.title, picture.caption, source, problem, name, packed if name else "")


def _data_uri(figure: Figure) -> tuple[str, str]:
    """Sharp at any size where that is cheap; as an image, so that nothing in it can run.

    Returns
    -------
    tuple of str
        The data URI; and, where that is a PNG, the SVG compressed.
    """
    svg = to_bytes(figure, "svg", dpi=RASTER_DPI)
    if len(svg) <= MAX_SVG_BYTES:
        return f"data:image/svg+xml;base64,{_text(svg)}", ""
    png = to_bytes(figure, "png")
    return f"data:image/png;base64,{_text(png)}", _text(gzip.compress(svg, mtime=0))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
