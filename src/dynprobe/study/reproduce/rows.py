"""Every number of a reproduction, one row each, in a CSV file that grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynprobe.study.csv_rows import read_csv, write_csv

#: How the measure of a network begins that could not be measured; the reason follows.
FAILED = "failed: "


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

    @property
    def network(self) -> tuple[str, int, str, int, int, float, int]:
        """What tells networks apart, as :meth:`Setting.network` does."""
        return (self.task, self.n, self.model, self.units, self.length, self.l2, self.seed)


def read_rows(path: Path) -> list[Row]:
    """All rows of a file; none where there is no file.

    Raises
    ------
    DataError
        If it is no such file, naming the line.
    """
    return read_csv(path, Row, "a reproduction")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows anew; the file appears whole or not at all."""
    write_csv(path, rows, Row)
