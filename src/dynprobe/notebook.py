"""A table as a notebook shows it: no scripts, no style sheet, in the notebook's own colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

CELL = "text-align:left;vertical-align:top;padding:.15em 1em .15em 0"


def table(title: str, rows: Iterable[Sequence[str]]) -> str:
    """HTML of a table without headings.

    Parameters
    ----------
    title : str
        Shown above it.
    rows : iterable of sequences of str
        The first cell of each is its heading. Everything is escaped.
    """
    lines = "".join(f"<tr>{_cells(row)}</tr>" for row in rows)
    caption = f'<caption style="text-align:left;font-weight:bold">{_text(title)}</caption>'
    return f"<table>{caption}<tbody>{lines}</tbody></table>"


def _cells(row: Sequence[str]) -> str:
    first, *others = map(_text, row)
    head = f'<th scope="row" style="{CELL};font-weight:normal;opacity:.75">{first}</th>'
    return head + "".join(f'<td style="{CELL}">{cell}</td>' for cell in others)


def _text(value: str) -> str:
    # a lone surrogate in a token has no UTF-8
    return escape(value.encode("utf-8", "backslashreplace").decode("utf-8"))
