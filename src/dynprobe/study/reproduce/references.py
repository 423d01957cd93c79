"""What Aitken et al. 2020 found, and how near a reproduction must come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dynprobe.study.reproduce.news import NEWS, SUMMED
from dynprobe.study.reproduce.rows import FAILED, Row
from dynprobe.study.reproduce.settings import L2, RESET_FIRST, STRONGER_L2, TIED
from dynprobe.study.summed_embeddings import PENALTY

#: Participation ratios: 5 %. Mean angles: 1.5 degrees; smallest and largest of a kind: 5.
#: Accuracies and shares of variance: 1 and 3 points. Components must be exact. Others stand at
#: their cells.
RATIO, ANGLE, EXTREME, ACCURACY, SHARE = 0.05, 1.5, 5.0, 0.01, 0.03


@dataclass(frozen=True)
class Cell:
    """One number of the reference.

    Attributes
    ----------
    kind, n, l2 : str, int, float
        Which networks of ours it is compared with.
    measure : str
        Which measure.
    expected : float
        What the reference has.
    within : float
        Largest difference.
    model : str or None
        Which kind of ours it is always compared with, where not all kinds have it.
    """

    kind: str
    n: int
    l2: float
    measure: str
    expected: float
    within: float
    model: str | None = None


@dataclass(frozen=True)
class Reference:
    """One row of the table.

    Attributes
    ----------
    title : str
        What it says.
    source : str
        Where the number is from: printed by the authors' analyses, or read off a plot (about 3 %).
    cells : tuple of Cell
        All have to be met.
    """

    title: str
    source: str
    cells: tuple[Cell, ...]

    @property
    def of_one_kind(self) -> bool:
        """Whether it belongs to one kind of ours or to the task, and says nothing of others."""
        return all(cell.model is not None or cell.measure == PREDICTED for cell in self.cells)


PRINTED, PLOT = "printed", "read off a plot"
#: What does not depend on a network.
PREDICTED = "latent-semantic participation ratio"


def _ratio(kind: str, n: int, expected: float, l2: float = L2, model: str | None = None) -> Cell:
    return Cell(kind, n, l2, "participation ratio", expected, RATIO * expected, model)


def _sweep(
    measure: str, expected: Sequence[float], within: float, *, relative: bool = False
) -> tuple[Cell, ...]:
    """One cell for each N from 2 on."""
    return tuple(
        Cell("categorical", n, L2, measure, e, within * e if relative else within)
        for n, e in enumerate(expected, start=2)
    )


REFERENCES = (
    Reference(
        "3 classes: shares of the first components, and participation ratio",
        PRINTED,
        (
            Cell("categorical", 3, L2, "variance share 1", 0.501, SHARE),
            Cell("categorical", 3, L2, "variance share 2", 0.471, SHARE),
            Cell("categorical", 3, L2, "variance share 3", 0.015, 0.015),
            _ratio("categorical", 3, 2.113),
        ),
    ),
    Reference(
        "Participation ratio for N = 2 to 10",
        PLOT,
        _sweep(
            "participation ratio",
            (1.04, 2.08, 3.1, 4.15, 5.15, 6.2, 7.2, 8.2, 9.15),
            RATIO,
            relative=True,
        ),
    ),
    Reference(
        "Components for 90 %, 95 % and N/(N+1) of the variance: N - 1",
        PRINTED,
        tuple(
            Cell("categorical", n, L2, f"components for {share}", n - 1, 0.0)
            for n in range(2, 11)
            for share in ("90 %", "95 %", "N/(N+1)")
        ),
    ),
    Reference(
        "Estimators from neighbours at N = 10",
        PLOT,
        (
            Cell("categorical", 10, L2, "maximum likelihood, k = 10, arithmetic mean", 4.85, 0.485),
            Cell("categorical", 10, L2, "correlation dimension, all distances", 2.8, 0.28),
        ),
    ),
    Reference(
        "Angles between readouts for N = 2 to 10, degrees",
        PLOT,
        # readouts that sum to zero have the mean angle of a simplex whatever their shape
        tuple(
            cell
            for measure, within in (
                ("readout angle, mean", ANGLE),
                ("readout angle, smallest", EXTREME),
                ("readout angle, largest", EXTREME),
            )
            for cell in _sweep(
                measure, (177.5, 120, 109.5, 104.5, 101.5, 99.5, 98.2, 97.2, 96.4), within
            )
        ),
    ),
    Reference(
        "Share of a readout's norm inside the span of the others",
        PLOT,
        (
            Cell("categorical", 2, L2, "readout norm inside the span of the others", 0.9991, 0.003),
            Cell(
                "categorical", 10, L2, "readout norm inside the span of the others", 0.9973, 0.003
            ),
        ),
    ),
    Reference(
        "3 classes: deflection by a word in the plane, 120 degrees apart; by the neutral word",
        PLOT,
        (
            Cell("categorical", 3, L2, "deflection of evidence inside", 0.58, 0.058),
            Cell("categorical", 3, L2, "angle between deflections, smallest", 120, EXTREME),
            Cell("categorical", 3, L2, "angle between deflections, largest", 120, EXTREME),
            Cell("categorical", 3, L2, "deflection of the neutral word inside", 0.0, 0.058),
        ),
    ),
    Reference(
        "Test accuracy at N = 2 and 10, of phrases with ties",
        PLOT,
        # the reference's phrases have ties, and a share of its answers is right only of such
        (
            Cell(TIED, 2, L2, "accuracy", 0.99, ACCURACY),
            Cell(TIED, 10, L2, "accuracy", 0.970, ACCURACY),
        ),
    ),
    Reference(
        "3 classes, words in random order: same class, change of the final state",
        PRINTED,
        (
            Cell("categorical", 3, L2, "same answer in random order", 0.98, 0.02),
            Cell("categorical", 3, L2, "change of the final state in random order", 0.168, 0.05),
        ),
    ),
    Reference(
        "Ordered, 3 classes, L2 1e-2: shares, participation ratio",
        PRINTED,
        (
            Cell("ordered", 3, 1e-2, "variance share 1", 0.865, SHARE),
            Cell("ordered", 3, 1e-2, "variance share 2", 0.134, SHARE),
            _ratio("ordered", 3, 1.304, 1e-2),
        ),
    ),
    Reference(
        "Ordered, 5 classes, L2 1e-2 and 1e-3: participation ratio (GRU that resets first)",
        PRINTED,
        tuple(
            _ratio("ordered", 5, expected, l2, RESET_FIRST)
            for l2, expected in ((1e-2, 2.031), (1e-3, 3.058))
        ),
    ),
    Reference(
        "2 and 3 labels at once: participation ratio (the nearest of three penalties)",
        PRINTED,
        (_ratio("multilabel", 2, 2.112), _ratio("multilabel", 3, 3.157)),
    ),
    Reference(
        "Participation ratio that word counts predict, N = 2, 3, 4, 10 (of the task alone)",
        PRINTED,
        tuple(
            Cell(
                "categorical",
                n,
                L2,
                PREDICTED,
                expected,
                0.05 * expected,
            )
            for n, expected in ((2, 1.000), (3, 1.984), (4, 2.988), (10, 8.85))
        ),
    ),
    Reference(
        "AG News: components of the word pushes of a bag of words",
        PRINTED,
        # three components are all that four classes have; what the paper prints is their shares
        tuple(
            Cell(NEWS, 4, PENALTY, f"variance share {i}", share, SHARE, SUMMED)
            for i, share in ((1, 0.57), (2, 0.285), (3, 0.145))
        ),
    ),
)

#: Of rows whose penalty the reference does not record, the nearest of these counts.
ALTERNATIVES = {"multilabel": (1e-4, L2, 1e-3)}


@dataclass(frozen=True)
class Compared:
    """A number of the reference beside ours.

    Attributes
    ----------
    cell : Cell
        Theirs.
    l2 : float
        Of our networks.
    values : tuple of float
        Ours, one for each seed; empty where nothing has been measured, NaN where it does not apply.
    """

    cell: Cell
    l2: float
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds; NaN without any."""
        return sum(self.values) / len(self.values) if self.values else math.nan

    @property
    def met(self) -> bool:
        """Whether the mean is within the tolerance; of counts, whether every seed is."""
        if self.cell.within == 0:
            return bool(self.values) and all(v == self.cell.expected for v in self.values)
        return abs(self.mean - self.cell.expected) <= self.cell.within + 1e-12


@dataclass(frozen=True)
class Ours:
    """Which of our networks are set beside the paper's.

    Attributes
    ----------
    model : str
        Their kind.
    l2 : float or None
        Their penalty where it is another than the paper's.
    ties : bool
        Whether they were trained and tested on phrases with ties; of categorical tasks alone.
    """

    model: str = "gru"
    l2: float | None = None
    ties: bool = False

    @property
    def name(self) -> str:
        """For headings."""
        named = {RESET_FIRST: "GRU that resets first", "rnn": "vanilla RNN"}
        name = named.get(self.model, self.model.upper())
        penalty = "" if self.l2 is None else f", L2 {self.l2:g}"
        return name + penalty + (", phrases with ties" if self.ties else "")

    def kind(self, cell: Cell) -> str:
        """The task of a number."""
        return TIED if self.ties and cell.kind == "categorical" else cell.kind

    def penalties(self, cell: Cell) -> tuple[float, ...]:
        """Those the number may have; the nearest counts."""
        if self.l2 is not None:
            return (self.l2,)
        return ALTERNATIVES.get(cell.kind, (cell.l2,))


#: Those that the paper's table is about.
GRU = Ours()
#: Those that it may hold for too.
OTHERS = (
    Ours(RESET_FIRST),
    Ours(ties=True),
    *(Ours(model, l2) for model in ("lstm", "ugrnn") for l2 in (None, STRONGER_L2)),
    Ours("rnn"),
)


def compare(reference: Reference, rows: Sequence[Row], ours: Ours = GRU) -> list[Compared]:
    """Set every number of a reference beside the rows of one kind of network."""
    found = []
    for cell in reference.cells:
        tried = [Compared(cell, l2, _values(cell, l2, rows, ours)) for l2 in ours.penalties(cell)]
        measured = [c for c in tried if c.values] or tried[:1]
        # NaN, where a network could not be measured, is the farthest of all
        found.append(min(measured, key=lambda c: (math.isnan(c.mean), abs(c.mean - cell.expected))))
    return found


def _values(cell: Cell, l2: float, rows: Sequence[Row], ours: Ours) -> tuple[float, ...]:
    if ours.ties and ours.kind(cell) != TIED:
        return ()
    wanted = (ours.kind(cell), cell.n, cell.model or ours.model, l2)
    some = [r for r in rows if (r.task, r.n, r.model, r.l2) == wanted]
    if cell.measure == "accuracy":
        return tuple({r.seed: r.accuracy for r in some}.values())
    # a network that could not be measured counts, as one that has no such number
    return tuple(r.value for r in some if r.measure == cell.measure or r.measure.startswith(FAILED))
