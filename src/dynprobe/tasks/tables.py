"""Reading labelled texts from tables with named columns, such as Hugging Face datasets."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

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


class Frame(Protocol):
    """What is needed of a pandas ``DataFrame``."""

    @property
    def columns(self) -> Any:
        """The names of the columns."""
        ...

    @property
    def dtypes(self) -> Any:
        """Their types by name."""
        ...

    @property
    def iloc(self) -> Any:
        """Columns by number."""
        ...


class FrameTable:
    """A pandas DataFrame as a :class:`Table`: categories are the names of the classes."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""
        return [str(name) for name in self._frame.columns]

    @property
    def features(self) -> dict[str, object]:
        """Names of the classes of a categorical column, in the order of its categories."""
        found: dict[str, object] = {}
        for name, dtype in self._frame.dtypes.items():
            categories = getattr(dtype, "categories", None)
            if categories is not None and all(isinstance(c, str) for c in categories):
                found[str(name)] = SimpleNamespace(names=list(categories))
        return found

    def __getitem__(self, column: str, /) -> Iterable[object]:
        """A column as plain values; arrays, as read from Parquet, as lists."""
        at = [i for i, name in enumerate(self.column_names) if name == column]
        if len(at) > 1:
            raise DataError(f"{len(at)} columns are called {column!r}. Rename all but one.")
        values: list[Any] = self._frame.iloc[:, at[0]].tolist()
        return [value.tolist() if hasattr(value, "tolist") else value for value in values]


def as_table(source: object) -> object:
    """`source`, or a pandas DataFrame as a table; pandas is not imported for it."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return FrameTable(source)
    return source


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
