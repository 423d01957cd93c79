"""Plain sentences of what is and is not supported, by rules stated here.

Of each model, over the categorical tasks and all seeds of the chosen setting:

1. *learned*: the mean accuracy is at least half of the way from chance to no error on every task;
2. *counts*: in random order 95 % of the answers stay, and the memory horizon is never under half
   within a sequence;
3. *reads out N - 1*: the participation ratio of the stream is within a factor of 1.25 of N - 1;
4. *remembers N - 1*: the same of the memory, divided by its normaliser where it has one. By itself
   that says little: words at random are as many as those of a class, so that what random inputs
   give, which stands beside it in the tables, may be near it;
5. *is read linearly*: the readout of the memory explains 0.9 of the variance of the logits;
6. *corrects*: the map is not affine in the state, and at most half of a push off the manifold is
   left after a sequence. An affine map forgets, along the manifold as well: it corrects nothing.

A rule holds if the mean over seeds satisfies it on every task. Without a number it is unknown. A
model integrates as a recurrent network does if all six hold of it, in part if 1 to 3 do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from dynprobe.comparison.verdict import FACTOR, LEARNED, SAME
from dynprobe.dynamics.pushes import RETURNED
from dynprobe.study.survey.memory_readout import LINEAR
from dynprobe.study.survey.rows import MEMORY, MODEL, STREAM, Row

RULES = (
    "learned",
    "counts",
    "reads out N − 1",
    "remembers N − 1",
    "is read linearly",
    "corrects",
)
Holds = bool | None
#: How a measure of the memory horizon begins, and what of the last word's effect a counter keeps.
LAG, COUNTS = "memory horizon at lag ", 0.5
#: The network that the others are held against.
REFERENCE = "gru"


@dataclass(frozen=True)
class Finding:
    """What holds of one model; None where a number is missing."""

    model: str
    holds: dict[str, Holds]

    @property
    def sentence(self) -> str:
        """In words."""
        values = list(self.holds.values())
        if self.holds["learned"] is False:
            return f"{self.model}: cannot be told, it has not learned the task."
        if all(values):
            return f"{self.model}: integrates evidence as the rules say of a recurrent network."
        failing = _listed([name for name, v in self.holds.items() if v is False])
        unknown = _listed([name for name, v in self.holds.items() if v is None])
        unsaid = f" Not measured: {unknown}." if unknown else ""
        if not failing:
            return f"{self.model}: nothing speaks against it.{unsaid}"
        start = "in part" if all(values[:3]) else "no"
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
            and reference.holds[name] is not None
            and f.holds[name] is not None
        ]
        alike = sum(reference is not None and reference.holds[n] == f.holds[n] for n in known)
        out[f.model] = f"{alike} of {len(known)} rules" if known else "unknown"
    return out


def _finding(rows: Sequence[Row], model: str) -> Finding:
    counted = [r for r in rows if r.task.startswith("categorical")]
    read = view_read(counted)

    def mean(n: int, notion: str, measure: str) -> float:
        found = [r.value for r in counted if (r.n, r.notion, r.measure) == (n, notion, measure)]
        return fmean(found) if found else math.nan

    def every(test: Callable[[int], Holds]) -> Holds:
        results = [test(n) for n in sorted({r.n for r in counted})]
        if False in results:
            return False
        return None if not results or None in results else True

    def learned(n: int) -> Holds:
        by_seed = {(r.task, r.seed): r.accuracy for r in counted if r.n == n}
        return fmean(by_seed.values()) >= 1 / n + LEARNED * (1 - 1 / n)

    def counts(n: int) -> Holds:
        same = mean(n, MODEL, "same answer in random order")
        lags = {r.measure for r in counted if r.n == n and r.measure.startswith(LAG)}
        least = min((mean(n, MODEL, lag) for lag in lags), default=math.nan)
        return _if_known(same >= SAME and least >= COUNTS, same, least)

    def reads(n: int) -> Holds:
        ratio = mean(n, STREAM, "participation ratio")
        return _if_known(_near(ratio, n - 1), ratio)

    def remembers(n: int) -> Holds:
        ratio = mean(n, MEMORY, f"{read}participation ratio")
        return _if_known(_near(ratio, n - 1), ratio)

    def linear(n: int) -> Holds:
        share = mean(n, MEMORY, f"{read}share of the logits its linear readout explains")
        return _if_known(share >= LINEAR, share)

    def corrects(n: int) -> Holds:
        affine = mean(n, MEMORY, "affine in the state")
        left = mean(n, MEMORY, "left of a push off the manifold")
        return _if_known(affine == 0 and left <= RETURNED, affine, left)

    tests = (learned, counts, reads, remembers, linear, corrects)
    return Finding(model, {name: every(t) for name, t in zip(RULES, tests, strict=True)})


def _near(a: float, b: float) -> bool:
    return b / FACTOR <= a <= b * FACTOR


def _if_known(answer: bool, *numbers: float) -> Holds:
    return None if any(math.isnan(x) for x in numbers) else answer


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
