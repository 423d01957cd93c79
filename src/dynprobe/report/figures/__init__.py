"""The pictures of a report, one function each: ``FIGURES["states"].draw(report, layer)``.

Importing this imports matplotlib; :mod:`dynprobe.report` does so only when a picture is needed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.figure import Figure

from dynprobe.report.figures import (
    ablation,
    deflections,
    eigenvalues,
    fixed_points,
    scales,
    slow_cut,
    spectrum,
    states,
    time_constants,
)
from dynprobe.report.figures.style import Draw, style, to_bytes

if TYPE_CHECKING:
    from dynprobe.report.report import Report

__all__ = ["FIGURES", "Drawing", "Picture", "pictures", "save_pngs"]


class Drawing(NamedTuple):
    """One kind of figure: its title, its caption, and what draws it.

    `draw` gives None where the report holds nothing to draw; `caption` is for drawn figures.
    """

    title: str
    caption: Callable[[Report, str], str]
    draw: Draw


FIGURES: dict[str, Drawing] = {
    "states": Drawing(states.TITLE, states.caption, states.draw),
    "spectrum": Drawing(spectrum.TITLE, spectrum.caption, spectrum.draw),
    "scales": Drawing(scales.TITLE, scales.caption, scales.draw),
    "fixed_points": Drawing(fixed_points.TITLE, fixed_points.caption, fixed_points.draw),
    "slow_cut": Drawing(slow_cut.TITLE, slow_cut.caption, slow_cut.draw),
    "deflections": Drawing(deflections.TITLE, deflections.caption, deflections.draw),
    "time_constants": Drawing(time_constants.TITLE, time_constants.caption, time_constants.draw),
    "eigenvalues": Drawing(eigenvalues.TITLE, eigenvalues.caption, eigenvalues.draw),
    "ablation": Drawing(ablation.TITLE, ablation.caption, ablation.draw),
}


@dataclass(frozen=True)
class Picture:
    """A figure of one layer, or the reason why it could not be drawn.

    Attributes
    ----------
    name : str
        Key in :data:`FIGURES`, or the analyzer whose result drew it.
    title, caption : str
        For the page.
    figure : Figure or None
        None where drawing failed.
    problem : str
        What was raised; empty where there is a figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure | None
    problem: str = ""


def pictures(report: Report, layer: str) -> Iterator[Picture]:
    """Draw all figures of one layer, then those of results with a method ``figure()``.

    One that cannot be drawn costs only itself: the numbers of an hour's analysis still get out.
    """
    for name, drawing in FIGURES.items():
        try:
            figure = drawing.draw(report, layer)
            if figure is not None:
                yield Picture(name, drawing.title, drawing.caption(report, layer), figure)
        except Exception as error:
            yield Picture(name, drawing.title, "", None, _reason(error))
    for (name, at), result in report.results.items():
        if at == layer and callable(getattr(result, "figure", None)):
            yield _from_result(name, result)


def save_pngs(report: Report, folder: Path) -> list[Path]:
    """Write every figure of every layer as a PNG file.

    Parameters
    ----------
    report : Report
        What to draw.
    folder : Path
        Created if need be. Files are called ``<layer>.<figure>.png``; characters of a layer's
        name that not every file system takes become "_".

    Returns
    -------
    list of Path
        The files written. A figure that cannot be drawn is left out, with a warning.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for layer in report.layers:
        for picture in pictures(report, layer):
            if picture.figure is None:
                warnings.warn(
                    f"The figure {picture.name!r} of {layer!r} could not be drawn: "
                    f"{picture.problem}",
                    stacklevel=2,
                )
                continue
            path = _free(folder, f"{layer}.{picture.name}", written)
            path.write_bytes(to_bytes(picture.figure, "png"))
            written.append(path)
    return written


def _from_result(name: str, result: object) -> Picture:
    title = name.replace("_", " ")
    try:
        with style():
            figure = result.figure()  # type: ignore[attr-defined]
        if not isinstance(figure, Figure):
            raise TypeError(f"figure() gave {type(figure).__name__}, not a matplotlib Figure")
    except Exception as error:
        return Picture(name, title, "", None, _reason(error))
    return Picture(name, title, f"Drawn by the analyzer {name}.", figure)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _free(folder: Path, name: str, taken: list[Path]) -> Path:
    """A file name that this call has not used yet: two layers may differ only by a "/"."""
    stem = re.sub(r"[^\w.-]+", "_", name)
    path, n = folder / f"{stem}.png", 2
    while path in taken:
        path, n = folder / f"{stem}-{n}.png", n + 1
    return path
