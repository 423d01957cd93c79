"""The tables of docs/reproduction.md, from the rows of the reproduction.

    python benchmarks/reproduction.py           # write them anew
    python benchmarks/reproduction.py --check   # fail if they are not those of the rows

The rows are what ``dynprobe reproduce --news FOLDER --out benchmarks/results/reproduction``
measured; `machine.json` beside them tells where, and which networks were trained on a GPU.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from machine import RESULTS
from pages import fill, markdown

from dynprobe.study.reproduce.references import (
    ALTERNATIVES,
    GRU,
    REFERENCES,
    Compared,
    Ours,
    compare,
)
from dynprobe.study.reproduce.rows import Row, read_rows
from dynprobe.study.reproduce.run import ROWS, Reproduction
from dynprobe.study.reproduce.settings import RESET_FIRST, STRONGER_L2, full_settings

PAGE = Path(__file__).parents[1] / "docs" / "reproduction.md"
#: Columns by their names in the page.
OURS = {
    "gru": GRU,
    "ties": Ours(ties=True),
    "gru_reset_first": Ours(RESET_FIRST),
    "lstm": Ours("lstm"),
    "lstm_more": Ours("lstm", STRONGER_L2),
    "ugrnn": Ours("ugrnn"),
    "ugrnn_more": Ours("ugrnn", STRONGER_L2),
}
#: Its place is named as if it were a column.
LABELS = "labels"
PLACE = re.compile(r"(<!-- rows: ([\w, ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(rows: Sequence[Row], columns: Sequence[Ours]) -> str:
    """Every number of the paper beside the mean over our networks, a line for each measure.

    A cell says whether all numbers of the line are within their tolerances; of kinds other than
    the paper's GRU only numbers that were measured of one of them are in it.
    """
    whole = GRU in columns
    lines = [["", "the paper", *(ours.name for ours in columns)]]
    lines.append(["---"] * len(lines[0]))
    for reference in REFERENCES:
        if not whole and reference.of_one_kind:
            continue
        found = [compare(reference, rows, ours) for ours in columns]
        first = True
        for measure in dict.fromkeys(cell.measure for cell in reference.cells):
            own = [[c for c in compared if c.cell.measure == measure] for compared in found]
            if not whole:
                at = [i for i in range(len(own[0])) if any(some[i].values for some in own)]
                if not at:
                    continue
                own = [[some[i] for i in at] for some in own]
            if first:
                lines.append([f"**{reference.title}**", *[""] * (1 + len(columns))])
                first = False
            theirs = ", ".join(f"{c.cell.expected:g}" for c in own[0])
            lines.append([measure, theirs, *map(_ours, own)])
    return markdown(lines)


def _ours(compared: Sequence[Compared]) -> str:
    measured = [c for c in compared if c.values]
    if not measured:
        return "–"
    digits = max(len(f"{c.cell.expected:g}".partition(".")[2]) for c in compared)
    means = ", ".join(_mean(c, digits) if c.values else "–" for c in compared)
    if not all(c.met for c in measured):
        return f"✗ {means}"
    return f"✓ {means}" if len(measured) == len(compared) else means


def _mean(c: Compared, digits: int) -> str:
    """Over networks; of what must be exact, the least and the largest."""
    if c.cell.within > 0:
        return f"{c.mean:.{digits}f}"
    return _range(c.values, 0)


def labels(rows: Sequence[Row]) -> str:
    """Several labels at once: every penalty that was tried, and how far networks differ."""
    penalties = ALTERNATIVES["multilabel"]
    lines = [["", *(f"L2 {l2:g}" for l2 in penalties)]]
    lines.append(["---"] * len(lines[0]))
    for n in (2, 3):
        own = [r for r in rows if (r.task, r.n, r.model) == ("multilabel", n, GRU.model)]
        some = [[r for r in own if r.l2 == l2] for l2 in penalties]
        networks = (len({r.seed for r in found}) for found in some)
        lines.append([f"**{n} labels**, networks", *map(str, networks)])
        for measure, digits in (
            ("participation ratio", 3),
            ("components for 95 %", 0),
            ("readout angle, smallest", 1),
            ("readout angle, largest", 1),
        ):
            values = ([r.value for r in found if r.measure == measure] for found in some)
            lines.append([measure, *(_range(v, digits) for v in values)])
        accuracies = ([100 * r.accuracy for r in found] for found in some)
        lines.append(["accuracy, %", *(_range(v, 1) for v in accuracies)])
    return markdown(lines)


def _range(values: Sequence[float], digits: int) -> str:
    """Least and largest, or the one number they round to."""
    if not values:
        return "–"
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def with_tables(text: str, rows: Sequence[Row]) -> str:
    """The page with its tables filled from the rows."""

    def filled(place: re.Match[str]) -> str:
        name = place[2]
        made = labels(rows) if name == LABELS else table(rows, [OURS[c] for c in name.split(", ")])
        return place[1] + made + place[3]

    return PLACE.sub(filled, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    folder = RESULTS / "reproduction"
    rows = Reproduction(read_rows(folder / ROWS), folder, full_settings(), False).shown
    fill([PAGE], lambda text: with_tables(text, rows), check=options.check)


if __name__ == "__main__":
    main()
