"""Reading a CSV or TSV file of labelled texts, with errors that point at the line."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from dynprobe.errors import DataError
from dynprobe.tasks.reading import read_utf8
from dynprobe.tasks.rows import Rows, split_labels

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_labelled_file(
    path: Path, text_column: str, label_column: str, several: bool = False
) -> Rows:
    """Read the two named columns of a file whose first row holds the column names.

    A ``.csv`` file may quote fields as usual. In a ``.tsv`` file quotes are ordinary characters:
    such files are mostly written without quoting, where a stray quote would swallow lines.
    Blank lines are skipped.

    Where `several` holds, a label field is a comma-separated list, and may be empty; and a file
    whose first row has neither column name has no such row: its first column is the text, its
    second the labels.

    Raises
    ------
    DataError
        Naming the file, and the line or column where there is one, if the file is missing, is
        not UTF-8, has no rows, lacks a column, or has a row with a missing or surplus field, an
        empty text or an empty label.
    """
    delimiter = DELIMITERS[path.suffix.lower()]
    reader = csv.reader(
        io.StringIO(read_utf8(path), newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
        strict=True,
    )
    texts: list[str] = []
    labels: list[list[str]] = []
    lines: list[int] = []

    def add(row: list[str], text_at: int, label_at: int) -> None:
        line = reader.line_num
        for column, at in ((text_column, text_at), (label_column, label_at)):
            if not row[at].strip() and not (several and at == label_at):
                raise DataError(
                    f"{path}, line {line}: column {column!r} is empty. "
                    "Fill it in or remove the row."
                )
        texts.append(row[text_at])
        labels.append(split_labels(row[label_at]) if several else [row[label_at].strip()])
        lines.append(line)

    try:
        first = next((row for row in reader if row), [])
        if several and len(first) > 1 and not {text_column, label_column} & set(first):
            text_at, label_at = 0, 1
            add(first, text_at, label_at)
        else:
            text_at, label_at = (
                _column(path, first, column) for column in (text_column, label_column)
            )
        for row in reader:
            if not row:
                continue
            if len(row) != len(first):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(row)} fields where the header has "
                    f"{len(first)}. Quote a text that holds the delimiter, or repair the row."
                )
            add(row, text_at, label_at)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}. Repair the quoting of this row."
        ) from error
    if not texts:
        raise DataError(f"{path}: no rows below the header. Give a file with labelled texts.")
    return Rows(str(path), texts, labels, lines, several)


def _column(path: Path, header: list[str], column: str) -> int:
    if not header:
        raise DataError(
            f"{path}: the file is empty. Give a file with a row of column names and labelled "
            "texts below."
        )
    if column not in header:
        raise DataError(
            f"{path}: there is no column {column!r}. The columns are: {', '.join(header)}. "
            "Pass text_column and label_column, or add a first row with the column names. "
            "Rows of text and comma-separated labels need none with multilabel=True."
        )
    return header.index(column)
