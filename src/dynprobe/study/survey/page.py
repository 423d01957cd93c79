"""The page: one figure that answers, sentences by rules, then every number with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student

from dynprobe.report.template import footer, render, shown
from dynprobe.study.survey.baseline import BASELINE
from dynprobe.study.survey.figures import answer, others
from dynprobe.study.survey.rows import COMPLETE, MEMORY, MODEL, STREAM, Row, accuracies, in_full
from dynprobe.study.survey.rules import REFERENCE, RULES, findings, in_common
from dynprobe.study.survey.run import Survey


@dataclass(frozen=True)
class Block:
    """All numbers of one task about one notion: a line for each measure, a cell for each model."""

    title: str
    notion: str
    lines: tuple[tuple[str, tuple[str, ...]], ...]


def interval(values: Sequence[float]) -> str:
    """Mean over seeds and half of its 95 % interval (Student); words for what has no mean.

    One value stands alone, without an interval.
    """
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return "-"
    endless = sum(math.isinf(v) for v in known)
    if endless == len(known):
        return "∞"
    if endless:
        rest = [v for v in known if math.isfinite(v)]
        return f"∞ in {endless} of {len(known)}, else {_short(fmean(rest))}"
    if len(known) == 1:
        return _short(known[0])
    half = float(student.ppf(0.975, len(known) - 1)) * stdev(known) / math.sqrt(len(known))
    return f"{_short(fmean(known))} ± {_short(half)}"


def blocks(rows: Sequence[Row], models: Sequence[str]) -> list[Block]:
    """The tables: networks in the chosen settings, task by task, notion by notion."""
    whole = [r for r in in_full(rows) if r.measure != COMPLETE and not _failed(r)]
    tasks = dict.fromkeys((r.task, r.n) for r in whole)
    return [
        _block(task, n, notion, [r for r in whole if (r.task, r.n) == (task, n)], models)
        for task, n in tasks
        for notion in (MODEL, STREAM, MEMORY)
    ]


def render_survey(found: Survey, *, quick: bool) -> str:
    """Make the page.

    Parameters
    ----------
    found
        What was measured.
    quick
        Whether it was the quick run; the page says so.
    """
    models = found.settings.models
    networks = {r.network for r in found.rows if r.model != BASELINE}
    judged = findings(in_full(found.rows), models)
    failures = [
        f"{r.model} on {r.task} {r.n}, seed {r.seed}: {r.measure}" for r in found.rows if _failed(r)
    ]
    return render(
        "survey.html",
        quick=quick,
        interrupted=found.interrupted,
        left_out=found.left_out,
        columns=(*models, BASELINE),
        rules=RULES,
        findings=judged,
        reference=REFERENCE,
        common=in_common(judged),
        first=[shown(picture) for picture in answer(found)],
        figures=[shown(picture) for picture in others(found)],
        blocks=blocks(found.rows, (*models, BASELINE)),
        failures=failures,
        networks=len(networks),
        budget=found.settings.budget,
        footer=footer(0),
    )


def _block(task: str, n: int, notion: str, rows: Sequence[Row], models: Sequence[str]) -> Block:
    about = [r for r in rows if r.notion == notion]
    measures = list(dict.fromkeys(r.measure for r in about))
    lines = []
    if notion == MODEL:
        lines += [("accuracy", _cells(models, ((m, _accuracies(rows, m)) for m in models)))]
        lines += [("chosen rate, L2; steps; seeds", tuple(_how(rows, m) for m in models))]
    for measure in measures:
        values = ((m, [r.value for r in about if (r.model, r.measure) == (m, measure)])
                  for m in models)  # fmt: skip
        lines.append((measure, _cells(models, values)))
    return Block(f"{task}, N = {n}", notion, tuple(lines))


def _cells(models: Sequence[str], values: Iterable[tuple[str, Sequence[float]]]) -> tuple[str, ...]:
    found = dict(values)
    return tuple(interval(found[m]) if found[m] else "" for m in models)


def _accuracies(rows: Sequence[Row], model: str) -> list[float]:
    return accuracies([r for r in rows if r.model == model])


def _how(rows: Sequence[Row], model: str) -> str:
    own = [r for r in rows if r.model == model]
    if not own or model == BASELINE:
        return ""
    seeds = len({r.seed for r in own})
    return f"{own[0].lr:g}, {own[0].l2:g}; {own[0].steps:,}; {seeds}"


def _failed(row: Row) -> bool:
    return "failed: " in row.measure


def _short(x: float) -> str:
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:,.0f}"
