"""Pages of the docs whose tables are made from results: written anew, or only compared."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table, a sequence of cells a line; the second line is dashes."""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fill(pages: Sequence[Path], filled: Callable[[str], str], *, check: bool) -> None:
    """Put what `filled` makes of each page in its place, or leave it and fail where it differs."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        made = filled(text)
        if not check:
            page.write_text(made, encoding="utf-8")
            print(f"written: {page.name}")
        elif made != text:
            sys.exit(f"{page.name} has other numbers than the rows: run {Path(sys.argv[0]).name}.")
