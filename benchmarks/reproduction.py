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

from dynprobe.study.reproduce.references import GRU, REFERENCES, Compared, Ours, compare
from dynprobe.study.reproduce.rows import Row, read_rows
from dynprobe.study.reproduce.settings import RESET_FIRST, STRONGER_L2

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
PLACE = re.compile(r"(<!-- rows: ([\w, ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(rows: Sequence[Row], columns: Sequence[Ours]) -> str:
    """Every number of the paper beside the mean over our networks, a line for each measure.

    A cell says whether all numbers of the line are within their tolerances; of kinds other than
    the paper's GRU only numbers that were measured are in it.
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
                own = [[c for c in some if c.values] for some in own]
                if not any(own):
                    continue
            if first:
                lines.append([f"**{reference.title}**", *[""] * (1 + len(columns))])
                first = False
            theirs = ", ".join(f"{c.cell.expected:g}" for c in max(own, key=len))
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
    low, high = min(c.values), max(c.values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def with_tables(text: str, rows: Sequence[Row]) -> str:
    """The page with its tables filled from the rows."""
    return PLACE.sub(lambda m: m[1] + table(rows, [OURS[c] for c in m[2].split(", ")]) + m[3], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows = read_rows(RESULTS / "reproduction" / "rows.csv")
    fill([PAGE], lambda text: with_tables(text, rows), check=options.check)


if __name__ == "__main__":
    main()
