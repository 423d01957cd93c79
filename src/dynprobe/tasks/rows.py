"""Labelled texts as some source has them, before labels are classes and words are ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dynprobe.errors import DataError


@dataclass(frozen=True)
class ClassNames:
    """Names of classes by index, and where they were read."""

    names: list[str]
    source: str


@dataclass(frozen=True)
class Rows:
    """The rows of one file or table.

    Attributes
    ----------
    source
        The file or table, for error messages.
    texts
        One text per row.
    labels
        The labels of each row as written: one, or any number where `several` holds.
    numbers
        The line or row number of each row.
    several
        Whether any number of labels may hold at once.
    unit
        What `numbers` count: ``"line"`` or ``"row"``.
    names
        Names of the classes where the source has them.
    """

    source: str
    texts: list[str]
    labels: list[list[str]]
    numbers: list[int]
    several: bool = False
    unit: str = "line"
    names: ClassNames | None = None

    def place(self, row: int) -> str:
        """Where row number `row` was read, for messages."""
        return f"{self.source}, {self.unit} {self.numbers[row]}"

    def labelled(self) -> Iterable[tuple[str, str]]:
        """Go through all labels, each with the place it was read."""
        for row, labels in enumerate(self.labels):
            for label in labels:
                yield label, self.place(row)


def split_labels(field: str) -> list[str]:
    """Return the labels of a comma-separated field, none for an empty one."""
    return [label.strip() for label in field.split(",") if label.strip()]


def written_labels(value: object, place: str, several: bool) -> list[str]:
    """Return the labels that a value of a JSON object or a table stands for, as text.

    Where `several` holds, a list or a comma-separated string holds any number of labels.

    Raises
    ------
    DataError
        Naming `place`, if a label is neither text nor an integer, or there are none or several
        where one is asked for.
    """
    if several and isinstance(value, str):
        return split_labels(value)
    labels = [_label(item, place) for item in (value if isinstance(value, list) else [value])]
    if not several and len(labels) != 1:
        raise DataError(
            f"{place}: {len(labels)} labels where the first row has one. Give every row one "
            "label, or pass multilabel=True."
        )
    return labels


def _label(value: object, place: str) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int):
        return str(int(value))
    raise DataError(
        f"{place}: the label is {value!r}. Write a class name, an integer, or a list of these."
    )


def written_text(value: object, place: str, column: str) -> str:
    """Return `value` if it is a text with something in it.

    Raises
    ------
    DataError
        Naming `place`, if it is not.
    """
    if not isinstance(value, str):
        raise DataError(
            f"{place}: {column!r} is {value!r} and not text. Pass text_column, or repair the row."
        )
    if not value.strip():
        raise DataError(f"{place}: {column!r} is empty. Fill it in or remove the row.")
    return value
