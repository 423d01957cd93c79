"""The page: every number of the paper beside ours, green or red by tolerances stated beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev

from dynprobe.atomic import whole_file
from dynprobe.report.template import footer, render, shown
from dynprobe.study.reproduce.figures import pictures
from dynprobe.study.reproduce.news import NEWS
from dynprobe.study.reproduce.references import GRU, OTHERS, REFERENCES, Compared, Ours, compare
from dynprobe.study.reproduce.run import SETTLED, Reproduction
from dynprobe.study.reproduce.settings import TIED


@dataclass(frozen=True)
class Line:
    """One number on the page."""

    what: str
    expected: str
    tolerance: str
    ours: str
    seeds: int
    verdict: str  # "met", "missed", "not measured" or "in part": fewer seeds than planned


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


def blocks(found: Reproduction, ours: Ours = GRU) -> list[Block]:
    """The paper's table with our numbers in it, of one kind of network.

    Rows that belong to one kind, whatever `ours` are, stand in the GRU's table alone.
    """
    rows = found.shown
    return [
        Block(
            reference.title,
            reference.source,
            tuple(_line(c, found, ours) for c in compare(reference, rows, ours)),
        )
        for reference in REFERENCES
        if ours == GRU or not reference.of_one_kind
    ]


def render_reproduction(found: Reproduction, *, quick: bool) -> str:
    """Make the page.

    Parameters
    ----------
    found
        What was measured.
    quick
        Whether networks are smaller and phrases shorter than the paper's; the page says so.
    """
    made = blocks(found)
    others = {
        ours.name: [b for b in blocks(found, ours) if any(n.seeds for n in b.lines)]
        for ours in OTHERS
    }
    settled = [r.value for r in found.shown if r.measure == SETTLED]
    return render(
        "reproduction.html",
        quick=quick,
        blocks=made,
        counts={v: sum(b.verdict == v for b in made) for v in ("met", "missed", "not measured")},
        others={name: bs for name, bs in others.items() if bs},
        figures=[shown(picture) for picture in pictures(found)],
        networks=len(settled),
        settled=sum(math.isfinite(step) for step in settled),
        failed=found.failed,
        interrupted=found.interrupted,
        footer=footer(0),
    )


def write_page(found: Reproduction, *, quick: bool) -> Path:
    """Write the page beside the rows; where it is."""
    page = found.folder / "reproduction.html"
    with whole_file(page) as part:
        part.write_text(render_reproduction(found, quick=quick), encoding="utf-8")
    return page


def _line(c: Compared, found: Reproduction, ours: Ours) -> Line:
    cell, kind = c.cell, ours.kind(c.cell)
    task = {TIED: "categorical with ties", NEWS: "AG News"}.get(kind, kind)
    where = f"{task} {cell.n}" + (f", L2 {c.l2:g}" if cell.kind != NEWS else "")
    known = [v for v in c.values if math.isfinite(v)]
    mean = "-"
    if known:
        spread = f" ± {_short(stdev(known))}" if len(known) > 1 else ""
        gaps = len(c.values) - len(known)
        mean = f"{_short(sum(known) / len(known))}{spread}{f' (none for {gaps})' if gaps else ''}"
    return Line(
        f"{cell.measure} ({where})",
        _short(cell.expected),
        "exactly" if cell.within == 0 else f"± {_short(cell.within)}",
        mean,
        len(c.values),
        _verdict(c, found.seeds(kind, cell.n, c.l2, cell.model or ours.model)),
    )


def _verdict(c: Compared, planned: int) -> str:
    if not c.values:
        return "not measured"
    if len(c.values) < planned:
        return "in part"
    return "met" if c.met else "missed"


def _short(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.4g}" if abs(x) >= 0.01 or x == 0 else f"{x:.1e}"
