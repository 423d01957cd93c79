"""Reading labelled texts from a file with one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

from dynprobe.errors import DataError
from dynprobe.tasks.reading import read_utf8
from dynprobe.tasks.rows import Rows, written_labels, written_text


def read_json_lines(
    path: Path, text_column: str, label_column: str, several: bool | None = None
) -> Rows:
    """Read the two named keys of every object; blank lines are skipped.

    A label is a class name, an integer, or a list of these; with `several` None the rows may hold
    any number of labels if the first one has a list.

    Raises
    ------
    DataError
        Naming file and line, if a line is not a JSON object, lacks a key, or has no text or no
        such label; naming the file, if it is missing, not UTF-8 or without rows.
    """
    texts: list[str] = []
    labels: list[list[str]] = []
    lines: list[int] = []
    # Not splitlines: JSON may hold other line separators inside strings.
    for number, line in enumerate(read_utf8(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{place}: not JSON ({error}). Write one object a line.") from error
        if not isinstance(row, dict):
            raise DataError(f"{place}: {type(row).__name__} and not an object. Write {{...}}.")
        for key in (text_column, label_column):
            if key not in row:
                raise DataError(
                    f"{place}: there is no key {key!r}. The keys are: {', '.join(row)}. "
                    "Pass text_column and label_column."
                )
        if several is None:
            several = isinstance(row[label_column], list)
        texts.append(written_text(row[text_column], place, text_column))
        labels.append(written_labels(row[label_column], place, several))
        lines.append(number)
    if not texts:
        raise DataError(f"{path}: there are no rows. Give a file with one JSON object a line.")
    return Rows(str(path), texts, labels, lines, bool(several))
