"""A report in the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dynprobe.report.report import Report
from dynprobe.report.summary import summary


def render_terminal(report: Report) -> RenderableType:
    """One table per layer."""
    parts: list[RenderableType] = []
    for layer in report.layers:
        table = Table(title=f"dynprobe: {layer}", title_justify="left", box=None, pad_edge=False)
        table.add_column("analyzer", style="cyan", no_wrap=True)
        table.add_column("measure", no_wrap=True)
        table.add_column("value", style="bold")
        table.add_column("", style="dim")
        for name, rows in summary(report, layer).items():
            for i, row in enumerate(rows):
                # analyses of a user's own text: brackets in it are not markup
                cells = (name if i == 0 else "", row.measure, row.value, row.meaning)
                table.add_row(*(Text(cell) for cell in cells))
        parts.append(table)
        notes = report.views[layer].notes
        if notes:
            parts.append(Text("  " + "; ".join(notes), style="dim"))
    if report.unused:
        parts.append(Text(f"Never called: {', '.join(report.unused)}.", style="yellow"))
    if report.interrupted:
        parts.append(Text("Interrupted: what was done until then is shown.", style="yellow"))
    return Group(*parts)
