"""Rows of numbers in a CSV file that appears whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dynprobe.atomic import whole_file
from dynprobe.errors import DataError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")
_READ = {"str": str, "int": int, "float": float}


def read_csv(path: Path, kind: type[R], what: str) -> list[R]:
    """All rows of a file; none where there is no file.

    Parameters
    ----------
    kind
        Dataclass of strings and numbers, a column each.
    what
        Whose columns these are, for messages: "a reproduction".

    Raises
    ------
    DataError
        If it is no such file, naming the line.
    """
    if not path.exists():
        return []
    names = [f.name for f in fields(kind)]
    rows = []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != names:
            raise DataError(
                f"{path}: the columns are {reader.fieldnames}, and those of {what} {names}. "
                "Pass another folder, or move the file away."
            )
        for line in reader:
            try:
                rows.append(kind(*(_READ[str(f.type)](line[f.name]) for f in fields(kind))))
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}.") from error
    return rows


def write_csv(path: Path, rows: Sequence[R], kind: type[R]) -> None:
    """Write all rows anew; six digits of a float are kept."""
    with whole_file(path) as part, Path(part).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(f.name for f in fields(kind))
        writer.writerows(_written(astuple(row)) for row in rows)


def _written(values: Iterable[object]) -> Iterable[object]:
    return (f"{v:.6g}" if isinstance(v, float) else v for v in values)
