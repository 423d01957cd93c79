"""Every number of the survey, one row each, in a CSV file that grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dynprobe.study.csv_rows import read_csv, write_csv

#: What a number is about. The two notions of state are never mixed.
MODEL, STREAM, MEMORY = "model", "stream", "memory"
#: Marks a network of which everything was measured.
COMPLETE = "measured in full"


@dataclass(frozen=True)
class Row:
    """One number of one network.

    Attributes
    ----------
    task, n, model : str, int, str
        What was trained, on what.
    notion : str
        "model"; "stream", the vectors that its classifier reads; "memory", what its recurrence
        carries.
    lr, l2, seed, steps : float, float, int, int
        How.
    accuracy : float
        Of the network on fresh sequences, beside every number.
    measure : str
        What is measured. Of memories, "S/z: " marks what is about the normalised memory, and
        "layer 1: " what is about a layer below the last.
    value : float
        The number; infinite where something never ends, NaN where it could not be measured.
    """

    task: str
    n: int
    model: str
    notion: str
    lr: float
    l2: float
    seed: int
    steps: int
    accuracy: float
    measure: str
    value: float

    @property
    def network(self) -> tuple[str, int, str, float, float, int]:
        """What tells networks apart."""
        return (self.task, self.n, self.model, self.lr, self.l2, self.seed)


def read_rows(path: Path) -> list[Row]:
    """All rows of a file; none where there is no file.

    Raises
    ------
    DataError
        If it is no such file, naming the line.
    """
    return read_csv(path, Row, "a survey")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows anew; the file appears whole or not at all."""
    write_csv(path, rows, Row)


def by_network(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each network, in the order in which networks come."""
    found: dict[object, list[Row]] = {}
    for row in rows:
        found.setdefault(row.network, []).append(row)
    return list(found.values())


def values_of(rows: Sequence[Row], notion: str, measure: str) -> list[float]:
    """The values of one measure."""
    return [row.value for row in rows if (row.notion, row.measure) == (notion, measure)]


def accuracies(rows: Sequence[Row]) -> list[float]:
    """The accuracy of each network."""
    return [own[0].accuracy for own in by_network(rows)]


def in_full(rows: Sequence[Row]) -> list[Row]:
    """Rows of networks of which everything was measured: the chosen ones, of every seed."""
    whole = {row.network for row in rows if row.measure == COMPLETE}
    return [row for row in rows if row.network in whole]
