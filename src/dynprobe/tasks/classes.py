"""Turning labels as written in a file into class indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dynprobe.errors import DataError
from dynprobe.tasks.labelled_file import LabelledFile


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

    def indices(self, file: LabelledFile) -> Tensor:
        """Return the class index of each row, int64, ``(rows,)``.

        Raises
        ------
        DataError
            Naming file and line, if a label is none of the classes.
        """
        indices: list[int] = []
        for label, line in zip(file.labels, file.lines, strict=True):
            index = self.values.get(_canonical(label, self.numeric))
            if index is None:
                known = ", ".join(list(self.values)[:12])
                raise DataError(
                    f"{file.path}, line {line}: the label {label!r} is none of the known labels "
                    f"({known}{', ...' if len(self.values) > 12 else ''}). "
                    "Correct the label, or list its class for training."
                )
            indices.append(index)
        return torch.tensor(indices, dtype=torch.int64)


def find_classes(training: LabelledFile, class_names: Sequence[str] | None) -> Classes:
    """Find the classes from the training labels, and `class_names` where a file lists them.

    If the first label is an integer, all have to be. Integer labels index `class_names` from 0;
    without these the distinct integers, ascending, become classes 0, 1, ... Other labels are
    class names, in the order of `class_names` or else sorted.

    Raises
    ------
    DataError
        If a label cannot be read, or there is only one class.
    """
    numeric = _is_integer(training.labels[0])
    found: set[str] = set()
    for label, line in zip(training.labels, training.lines, strict=True):
        if numeric and not _is_integer(label):
            raise DataError(
                f"{training.path}, line {line}: the label {label!r} cannot be read as an integer "
                f"as the labels before it can. Write all labels as integers, or all as names."
            )
        if numeric and class_names is not None and not 0 <= int(label) < len(class_names):
            raise DataError(
                f"{training.path}, line {line}: the label {label!r} is not the number of a class; "
                f"classes.txt names {len(class_names)}, numbered from 0. Number the labels from 0."
            )
        found.add(_canonical(label, numeric))
    if class_names is not None:
        names = list(class_names)
        keys = [str(k) for k in range(len(names))] if numeric else names
    else:
        keys = names = sorted(found, key=int) if numeric else sorted(found)
    if len(found) < 2:
        raise DataError(
            f"{training.path}: every row has the label {found.pop()!r}, and a classifier needs at "
            "least two classes. Check that label_column names the column with the labels."
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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8. Save the file as UTF-8.") from error
    names = [line.strip() for line in text.splitlines() if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: {twice[0]!r} is listed twice. Give each class its own name.")
    return names


def _is_integer(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _canonical(label: str, numeric: bool) -> str:
    return str(int(label)) if numeric and _is_integer(label) else label
