"""The page: every number of the paper beside ours, green or red by tolerances stated beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev

from dynprobe.atomic import whole_file
from dynprobe.report.template import footer, render, shown
from dynprobe.study.reproduce.figures import pictures
from dynprobe.study.reproduce.references import REFERENCES, Compared, Reference, compare
from dynprobe.study.reproduce.rows import Row
from dynprobe.study.reproduce.run import Reproduction


@dataclass(frozen=True)
class Line:
    """One number on the page."""

    what: str
    expected: str
    tolerance: str
    ours: str
    seeds: int
    verdict: str  # "met", "missed" or "not measured"


@dataclass(frozen=True)
class Block:
    """One row of the paper's table."""

    title: str
    source: str
    lines: tuple[Line, ...]

    @property
    def verdict(self) -> str:
        """Of all its numbers."""
        verdicts = {line.verdict for line in self.lines}
        if verdicts == {"met"}:
            return "met"
        return "missed" if "missed" in verdicts else "not measured"


def blocks(rows: Sequence[Row], model: str = "gru") -> list[Block]:
    """The paper's table with our numbers in it, of one kind of network."""
    return [_block(reference, rows, model) for reference in REFERENCES]


def render_reproduction(found: Reproduction, *, quick: bool) -> str:
    """Make the page.

    Parameters
    ----------
    found
        What was measured.
    quick
        Whether networks are smaller and phrases shorter than the paper's; the page says so.
    """
    made = blocks(found.rows)
    others = {
        model: [b for b in blocks(found.rows, model) if any(n.seeds for n in b.lines)]
        for model in ("lstm", "ugrnn", "rnn")
    }
    trained = {}
    for row in found.rows:
        trained[row.network] = (row.steps, row.accuracy)
    return render(
        "reproduction.html",
        quick=quick,
        blocks=made,
        counts={v: sum(b.verdict == v for b in made) for v in ("met", "missed", "not measured")},
        others={m: [b for b in bs if "AG News" not in b.title] for m, bs in others.items() if bs},
        figures=[shown(picture) for picture in pictures(found)],
        networks=len(trained),
        interrupted=found.interrupted,
        footer=footer(0),
    )


def write_page(found: Reproduction, *, quick: bool) -> Path:
    """Write the page beside the rows; where it is."""
    page = found.folder / "reproduction.html"
    with whole_file(page) as part:
        part.write_text(render_reproduction(found, quick=quick), encoding="utf-8")
    return page


def _block(reference: Reference, rows: Sequence[Row], model: str) -> Block:
    return Block(
        reference.title,
        reference.source,
        tuple(_line(c) for c in compare(reference, rows, model)),
    )


def _line(c: Compared) -> Line:
    cell = c.cell
    where = f"{cell.kind} {cell.n}" + (f", L2 {c.l2:g}" if c.l2 else "")
    ours = "-"
    if c.values:
        spread = f" ± {_short(stdev(c.values))}" if len(c.values) > 1 else ""
        ours = f"{_short(c.mean)}{spread}"
    return Line(
        f"{cell.measure} ({where})",
        _short(cell.expected),
        "exactly" if cell.within == 0 else f"± {_short(cell.within)}",
        ours,
        len(c.values),
        "not measured" if not c.values else "met" if c.met else "missed",
    )


def _short(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.4g}" if abs(x) >= 0.01 or x == 0 else f"{x:.1e}"
