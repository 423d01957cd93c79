"""Reading labelled texts from tables with named columns, such as Hugging Face datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from dynprobe.errors import DataError
from dynprobe.tasks.rows import ClassNames, Rows, written_labels, written_text


@runtime_checkable
class Table(Protocol):
    """What is needed of a table: ``datasets.Dataset`` has it.

    Where it also has ``features``, as a ``Dataset`` does, class names are taken from the label
    column's ``names``, or those of its ``feature`` where that is a list.
    """

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        ...

    def __getitem__(self, column: str, /) -> Iterable[object]:
        """Return a column."""
        ...


def read_table(
    table: Table, source: str, text_column: str, label_column: str, several: bool | None = None
) -> Rows:
    """Read the two named columns.

    A label is a class name, an integer, or a list of these; with `several` None the rows may hold
    any number of labels if the first one has a list.

    Raises
    ------
    DataError
        Naming `source`, and the row where there is one, if a column is missing, a text or label
        is not one, or there are no rows.
    """
    for column in (text_column, label_column):
        if column not in table.column_names:
            raise DataError(
                f"{source}: there is no column {column!r}. The columns are: "
                f"{', '.join(table.column_names)}. Pass text_column and label_column."
            )
    texts: list[str] = []
    labels: list[list[str]] = []
    pairs = zip(table[text_column], table[label_column], strict=True)
    for row, (text, label) in enumerate(pairs):
        place = f"{source}, row {row}"
        if several is None:
            several = isinstance(label, list)
        texts.append(written_text(text, place, text_column))
        labels.append(written_labels(label, place, several))
    if not texts:
        raise DataError(f"{source}: there are no rows. Give a table with labelled texts.")
    numbers = list(range(len(texts)))
    names = _class_names(table, source, label_column)
    return Rows(source, texts, labels, numbers, bool(several), "row", names)


def _class_names(table: Table, source: str, label_column: str) -> ClassNames | None:
    features = getattr(table, "features", None)
    feature = features.get(label_column) if isinstance(features, Mapping) else None
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return ClassNames(list(names), f"the features of {source}") if names else None
