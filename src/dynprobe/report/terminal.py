"""A report in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dynprobe.report.comparison import NOTIONS, Comparison
from dynprobe.report.report import Report
from dynprobe.report.summary import summary


def render_terminal(report: Report) -> RenderableType:
    """One table per layer."""
    parts: list[RenderableType] = []
    for layer in report.layers:
        table = Table(title=f"dynprobe: {layer}", title_justify="left", box=None, pad_edge=False)
        table.add_column("analyzer", style="cyan", no_wrap=True)
        # also in 80 columns every column is wide enough for its words
        table.add_column("measure", max_width=28)
        table.add_column("value", style="bold", min_width=16, overflow="fold")
        table.add_column("", style="dim", overflow="fold")
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


def render_comparison(comparison: Comparison) -> RenderableType:
    """The verdict, then one table, a column for each model."""
    parts: list[RenderableType] = [Text(comparison.verdict, style="bold")]
    parts += [
        Text.assemble((f"{f.question} ", "cyan"), (f"{f.answer}. ", "bold"), f.sentence)
        for f in comparison.findings
    ]
    table = Table(box=None, pad_edge=False)
    table.add_column("", style="cyan", no_wrap=True)
    table.add_column("measure")
    for name in comparison.names:
        table.add_column(Text(name), style="bold", overflow="fold")
    table.add_column("", style="dim")
    before = ""
    for row in comparison.rows:
        cells = [row.cells[name] for name in comparison.names]
        table.add_row(
            Text(row.notion if row.notion != before else ""),
            Text(row.measure),
            *(Text(cell.text, style="dim italic" if cell.missing else "") for cell in cells),
            Text(row.meaning),
        )
        before = row.notion
    parts.append(table)
    for notion in NOTIONS:
        found = comparison.similarity.get(notion)
        if found is not None:
            pairs = Table(title=f"CKA of the {notion}", title_justify="left", box=None)
            for name in ("", *found.names):
                pairs.add_column(Text(name))
            for name, values in zip(found.names, found.cka.tolist(), strict=True):
                pairs.add_row(Text(name), *(f"{value:.2f}" for value in values))
            parts.append(pairs)
    return Group(*parts)


def as_text(shown: Any) -> str:
    """What a terminal of 100 columns would show, without colours."""
    # in a notebook Rich would show a second copy of its own
    console = Console(width=100, force_terminal=False, force_jupyter=False, no_color=True)
    with console.capture() as capture:
        console.print(shown)
    return capture.get().rstrip()
