"""Every number of a reproduction, one row each, in a CSV file that grows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from dynprobe.atomic import whole_file
from dynprobe.errors import DataError
from dynprobe.study.reproduce.settings import Setting


@dataclass(frozen=True)
class Row:
    """One number of one network.

    Attributes
    ----------
    task, n, model, units, length, l2, seed : str, int, str, int, int, float, int
        What was trained.
    steps : int
        How long.
    accuracy : float
        Of the network, beside every number.
    measure : str
        What is measured.
    value : float
        The number.
    """

    task: str
    n: int
    model: str
    units: int
    length: int
    l2: float
    seed: int
    steps: int
    accuracy: float
    measure: str
    value: float

    def of(self, setting: Setting, seed: int) -> bool:
        """Whether this is a number of that network."""
        return self.network == (
            setting.kind,
            setting.n,
            setting.cell,
            setting.units,
            setting.length,
            setting.l2,
            seed,
        )

    @property
    def network(self) -> tuple[str, int, str, int, int, float, int]:
        """What tells networks apart."""
        return (self.task, self.n, self.model, self.units, self.length, self.l2, self.seed)


_NAMES = [f.name for f in fields(Row)]
_READ = {"str": str, "int": int, "float": float}


def read_rows(path: Path) -> list[Row]:
    """All rows of a file; none where there is no file.

    Raises
    ------
    DataError
        If it is no such file, naming the line.
    """
    if not path.exists():
        return []
    rows = []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != _NAMES:
            raise DataError(
                f"{path}: the columns are {reader.fieldnames}, and those of a reproduction "
                f"{_NAMES}. Pass another folder, or move the file away."
            )
        for line in reader:
            try:
                rows.append(Row(*(_READ[str(f.type)](line[f.name]) for f in fields(Row))))
            except (TypeError, ValueError) as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}.") from error
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows anew; the file appears whole or not at all."""
    with whole_file(path) as part, Path(part).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_NAMES)
        writer.writerows(_written(row) for row in rows)


def _written(row: Row) -> Iterable[object]:
    return (f"{v:.6g}" if isinstance(v, float) else v for v in astuple(row))
