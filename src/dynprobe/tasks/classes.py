"""Turning labels as written in a file into class indices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dynprobe.errors import DataError
from dynprobe.tasks.reading import read_utf8
from dynprobe.tasks.rows import ClassNames, Rows


@dataclass(frozen=True)
class Classes:
    """The classes of a data set.

    Attributes
    ----------
    names
        Class names by index.
    values
        The label as written to its class index. Integers are keyed without leading zeros.
    numeric
        Whether labels are written as integers.
    """

    names: list[str]
    values: dict[str, int]
    numeric: bool

    def indices(self, rows: Rows) -> Tensor:
        """Return the class index of each row, int64, ``(rows,)``.

        Where several labels may hold, one bool for each class, ``(rows, classes)``.

        Raises
        ------
        DataError
            Naming source and line, if a label is none of the classes.
        """
        found = [self._index(label, place) for label, place in rows.labelled()]
        if not rows.several:
            return torch.tensor(found, dtype=torch.int64)
        row = torch.arange(len(rows.texts)).repeat_interleave(
            torch.tensor([len(labels) for labels in rows.labels])
        )
        labels = torch.zeros(len(rows.texts), len(self.names), dtype=torch.bool)
        labels[row, torch.tensor(found, dtype=torch.int64)] = True
        return labels

    def _index(self, label: str, place: str) -> int:
        index = self.values.get(_canonical(label, self.numeric))
        if index is None:
            known = ", ".join(list(self.values)[:12])
            raise DataError(
                f"{place}: the label {label!r} is none of the known labels "
                f"({known}{', ...' if len(self.values) > 12 else ''}). "
                "Correct the label, or list its class for training."
            )
        return index


def find_classes(training: Rows, listed: ClassNames | None) -> Classes:
    """Find the classes from the training labels, and `listed` names where the source has them.

    If the first label is an integer, all have to be. Integer labels index the listed names from
    0; without these the distinct integers, ascending, become classes 0, 1, ... Other labels are
    class names, in the order of the listed names or else sorted.

    Raises
    ------
    DataError
        If a label cannot be read, or there are no labels, or only one class where a row has one.
    """
    labelled = list(training.labelled())
    if not labelled:
        raise DataError(f"{training.source}: no row has a label. Check the column with the labels.")
    numeric = _is_integer(labelled[0][0])
    found: set[str] = set()
    for label, place in labelled:
        if numeric and not _is_integer(label):
            raise DataError(
                f"{place}: the label {label!r} cannot be read as an integer "
                f"as the labels before it can. Write all labels as integers, or all as names."
            )
        if numeric and listed is not None and not 0 <= int(label) < len(listed.names):
            raise DataError(
                f"{place}: the label {label!r} is not the number of a class; "
                f"{listed.source} names {len(listed.names)}, numbered from 0. "
                "Number the labels from 0."
            )
        found.add(_canonical(label, numeric))
    if listed is not None:
        names = list(listed.names)
        keys = [str(k) for k in range(len(names))] if numeric else names
    else:
        keys = names = sorted(found, key=int) if numeric else sorted(found)
    if len(found) < 2 and not training.several:
        raise DataError(
            f"{training.source}: every row has the label {found.pop()!r}, and a classifier needs "
            "at least two classes. Check that label_column names the column with the labels."
        )
    return Classes(names, {key: index for index, key in enumerate(keys)}, numeric)


def read_class_names(path: Path) -> list[str] | None:
    """Read one class name per line, or return None if there is no such file.

    Raises
    ------
    DataError
        If the file is not UTF-8 or names a class twice.
    """
    if not path.is_file():
        return None
    text = read_utf8(path)
    names = [line.strip() for line in text.splitlines() if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: {twice[0]!r} is listed twice. Give each class its own name.")
    return names


def _is_integer(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _canonical(label: str, numeric: bool) -> str:
    return str(int(label)) if numeric and _is_integer(label) else label
