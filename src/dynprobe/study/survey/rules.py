"""Plain sentences of what is and is not supported, by rules stated here.

Of each network, of the chosen setting, on each categorical task:

1. *learned*: its accuracy is at least half of the way from chance to no error;
2. *counts*: in random order 95 % of the answers stay, and the memory horizon is never under half
   within a sequence;
3. *reads out N - 1*: the participation ratio of the stream is within a factor of 1.25 of N - 1;
4. *remembers N - 1*: the same of the memory, divided by its normaliser where it has one. By itself
   that says little: words at random are as many as those of a class, so that what random inputs
   give, which stands beside it in the tables, may be near it;
5. *is read linearly*: the readout of the memory explains 0.9 of the variance of the logits;
6. *corrects*: the map is not affine in the state, and at most half of a push off the manifold is
   left after a sequence. An affine map fades every direction at a pace of its own, wherever the
   state is: it may fade those off a manifold faster, but there is no manifold that it returns to.

A rule holds of a model if it holds of all its networks, and does not if it holds of none; between
them it is said of how many. Without a number it is unknown. (At first the mean over seeds was
judged; it hid that networks of one kind differ.) A model integrates as a recurrent network does if
all six hold of it, in part if 1 to 3 do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dynprobe.comparison.verdict import FACTOR, LEARNED, SAME
from dynprobe.dynamics.pushes import RETURNED
from dynprobe.study.survey.memory_readout import LINEAR
from dynprobe.study.survey.rows import MEMORY, MODEL, STREAM, Row, by_network, values_of

RULES = (
    "learned",
    "counts",
    "reads out N − 1",
    "remembers N − 1",
    "is read linearly",
    "corrects",
)
#: Of how many networks a rule holds, and of how many that is known.
Holds = tuple[int, int]
#: How a measure of the memory horizon begins, and what of the last word's effect a counter keeps.
LAG, COUNTS = "memory horizon at lag ", 0.5
#: The network that the others are held against.
REFERENCE = "gru"


@dataclass(frozen=True)
class Finding:
    """What holds of one model.

    Attributes
    ----------
    model : str
    holds : dict
        By rule: of how many networks it holds, and of how many that is known.
    """

    model: str
    holds: dict[str, Holds]

    def verdict(self, rule: str) -> bool | None:
        """Whether it holds of all networks or of none; None where they differ, or none is known."""
        yes, known = self.holds[rule]
        return None if known == 0 or 0 < yes < known else yes == known

    def word(self, rule: str) -> str:
        """The same in a word or two."""
        yes, known = self.holds[rule]
        if known == 0:
            return "not measured"
        return {known: "yes", 0: "no"}.get(yes, f"{yes} of {known}")

    @property
    def sentence(self) -> str:
        """In words."""
        values = {name: self.verdict(name) for name in self.holds}
        if values["learned"] is False:
            return f"{self.model}: cannot be told, it has not learned the task."
        if all(values.values()):
            return f"{self.model}: integrates evidence as the rules say of a recurrent network."
        failing = _listed([name for name, v in values.items() if v is False])
        mixed = _listed(
            [f"{n} ({self.word(n)})" for n, v in values.items() if v is None and self.holds[n][1]]
        )
        unknown = _listed([n for n in values if not self.holds[n][1]])
        unsaid = f" Networks differ: {mixed}." if mixed else ""
        unsaid += f" Not measured: {unknown}." if unknown else ""
        if not failing:
            return f"{self.model}: nothing speaks against it.{unsaid}"
        start = "in part" if all(values[rule] for rule in RULES[:3]) else "no"
        return f"{self.model}: {start}. Not supported: {failing}.{unsaid}"


def findings(rows: Sequence[Row], models: Sequence[str]) -> list[Finding]:
    """Judge every model by its chosen networks on categorical tasks.

    Parameters
    ----------
    rows
        Of networks that were measured in full; others are no part of it.
    """
    return [_finding([r for r in rows if r.model == m], m) for m in models]


def view_read(rows: Sequence[Row]) -> str:
    """Prefix of the memory that a model's layer itself reads: S/z where there is one."""
    return "S/z: " if any(r.measure.startswith("S/z: ") for r in rows) else ""


def in_common(found: Sequence[Finding]) -> dict[str, str]:
    """Of each model, on how many rules it does as the reference network of the same survey does.

    The rules say what such a network is known for; this says what it did here, under this budget.
    """
    reference = next((f for f in found if f.model == REFERENCE), None)
    out = {}
    for f in found:
        known = [
            name
            for name in RULES
            if reference is not None
            and reference.verdict(name) is not None
            and f.verdict(name) is not None
        ]
        alike = sum(reference is not None and reference.verdict(n) == f.verdict(n) for n in known)
        out[f.model] = f"{alike} of {len(known)} rules" if known else "unknown"
    return out


def least_lag(rows: Sequence[Row]) -> float:
    """Of one network: the least effect of a word before the last, of that of the last word."""
    lags = [r.value for r in rows if r.measure.startswith(LAG) and r.measure != f"{LAG}1"]
    return min(lags, default=math.nan)


def _finding(rows: Sequence[Row], model: str) -> Finding:
    counted = [r for r in rows if r.task.startswith("categorical")]
    judged = [_network(own) for own in by_network(counted)]
    holds = {}
    for rule in RULES:
        known = [found[rule] for found in judged if found[rule] is not None]
        holds[rule] = (sum(map(bool, known)), len(known))
    return Finding(model, holds)


def _network(rows: Sequence[Row]) -> dict[str, bool | None]:
    """What holds of one network."""
    read, n = view_read(rows), rows[0].n

    def value(notion: str, measure: str) -> float:
        return next(iter(values_of(rows, notion, measure)), math.nan)

    same, least = value(MODEL, "same answer in random order"), least_lag(rows)
    stream = value(STREAM, "participation ratio")
    memory = value(MEMORY, f"{read}participation ratio")
    share = value(MEMORY, f"{read}share of the logits its linear readout explains")
    affine = value(MEMORY, "affine in the state")
    left = value(MEMORY, "left of a push off the manifold")
    tests = (
        rows[0].accuracy >= 1 / n + LEARNED * (1 - 1 / n),
        _if_known(same >= SAME and least >= COUNTS, same, least),
        _if_known(_near(stream, n - 1), stream),
        _if_known(_near(memory, n - 1), memory),
        _if_known(share >= LINEAR, share),
        _if_known(affine == 0 and left <= RETURNED, affine, left),
    )
    return dict(zip(RULES, tests, strict=True))


def _near(a: float, b: float) -> bool:
    return b / FACTOR <= a <= b * FACTOR


def _if_known(answer: bool, *numbers: float) -> bool | None:
    return None if any(math.isnan(x) for x in numbers) else answer


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
