"""Reading a CSV or TSV file of labelled texts, with errors that point at the line."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from dynprobe.errors import DataError

DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class LabelledFile:
    """The rows of one file: texts, labels as written, and the line each row ends on."""

    path: Path
    texts: list[str]
    labels: list[str]
    lines: list[int]


def read_labelled_file(path: Path, text_column: str, label_column: str) -> LabelledFile:
    """Read the two named columns of a file whose first row holds the column names.

    A ``.csv`` file may quote fields as usual. In a ``.tsv`` file quotes are ordinary characters:
    such files are mostly written without quoting, where a stray quote would swallow lines.
    Blank lines are skipped.

    Raises
    ------
    DataError
        Naming the file, and the line or column where there is one, if the file is missing, is
        neither ``.csv`` nor ``.tsv``, is not UTF-8, has no rows, lacks a column, or has a row
        with a missing or surplus field, an empty text or an empty label.
    """
    delimiter = DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        raise DataError(f"{path}: the name ends in neither .csv nor .tsv. Rename or convert it.")
    reader = csv.reader(
        io.StringIO(_decode(path), newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
        strict=True,
    )
    texts: list[str] = []
    labels: list[str] = []
    lines: list[int] = []
    try:
        header = next(reader, [])
        text_at, label_at = (
            _column(path, header, column) for column in (text_column, label_column)
        )
        for row in reader:
            if not row:
                continue
            line = reader.line_num
            if len(row) != len(header):
                raise DataError(
                    f"{path}, line {line}: {len(row)} fields where the header has {len(header)}. "
                    "Quote a text that holds the delimiter, or repair the row."
                )
            for column, value in ((text_column, row[text_at]), (label_column, row[label_at])):
                if not value.strip():
                    raise DataError(
                        f"{path}, line {line}: column {column!r} is empty. "
                        "Fill it in or remove the row."
                    )
            texts.append(row[text_at])
            labels.append(row[label_at].strip())
            lines.append(line)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}. Repair the quoting of this row."
        ) from error
    if not texts:
        raise DataError(f"{path}: no rows below the header. Give a file with labelled texts.")
    return LabelledFile(path, texts, labels, lines)


def _decode(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). "
            "Save the file as UTF-8."
        ) from error


def _column(path: Path, header: list[str], column: str) -> int:
    if not header:
        raise DataError(
            f"{path}: the file is empty. Give a file with a row of column names and labelled "
            "texts below."
        )
    if column not in header:
        raise DataError(
            f"{path}: there is no column {column!r}. The columns are: {', '.join(header)}. "
            "Pass text_column and label_column, or add a first row with the column names."
        )
    return header.index(column)
