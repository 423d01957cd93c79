"""A report in a notebook: headline numbers, the main figure, the table; the page has the rest."""

from __future__ import annotations

import base64

from dynprobe.notebook import table
from dynprobe.report.figures import FIGURES
from dynprobe.report.figures.style import to_bytes
from dynprobe.report.headlines import headlines
from dynprobe.report.report import Report
from dynprobe.report.summary import summary

#: Layers whose figure and table are shown; the others are named.
MAX_LAYERS = 3


def render_notebook(report: Report) -> str:
    """HTML of a report, without scripts; names in it are escaped."""
    parts = [_layer(report, layer) for layer in report.layers[-MAX_LAYERS:]]
    rest = report.layers[:-MAX_LAYERS]
    if rest:
        parts.append(table("Further layers", [[", ".join(rest), "see report.save('report.html')"]]))
    if report.interrupted:
        parts.append("<p>Interrupted: what was done until then is shown.</p>")
    return "".join(parts) or "<p>This report holds no layer.</p>"


def _layer(report: Report, layer: str) -> str:
    top = table(
        f"dynprobe: {layer}", [[h.label, h.value, h.note] for h in headlines(report, layer)]
    )
    rows = [
        [name if i == 0 else "", row.measure, row.value, row.meaning]
        for name, found in summary(report, layer).items()
        for i, row in enumerate(found)
    ]
    numbers = f"<details><summary>All numbers</summary>{table('', rows)}</details>"
    return top + _figure(report, layer) + numbers


def _figure(report: Report, layer: str) -> str:
    """The states; a figure that cannot be drawn costs only itself."""
    drawing = FIGURES["states"]
    try:
        figure = drawing.draw(report, layer)
        if figure is None:
            return ""
        png = base64.b64encode(to_bytes(figure, "png", dpi=110)).decode("ascii")
    except Exception as error:
        return table("", [[drawing.title, f"could not be drawn ({type(error).__name__})"]])
    return f'<img src="data:image/png;base64,{png}" alt="{drawing.title}" width="480">'
