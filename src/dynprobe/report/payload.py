"""What the page's scripts are given: one block of JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from torch import Tensor

from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.dynamics.certificate import Status
from dynprobe.report.classes import UNKNOWN
from dynprobe.report.courses import EACH, MAX_STEPS, Course
from dynprobe.report.figures.plane import percent_of_variance, radius, xy
from dynprobe.report.figures.style import shown
from dynprobe.report.palette import NAME_LENGTH, Palette
from dynprobe.report.report import Report
from dynprobe.report.sample import Marks, Sample
from dynprobe.report.view import View

#: States on the whole page: with many layers each has fewer.
MAX_POINTS = 24_000
#: Numbers that tell of sequences on the whole page; of each at least so many steps are there.
MAX_NUMBERS = 600_000
MIN_STEPS = 20
#: Slow points, and fixed points, of one layer.
MAX_STILL = 1000
#: More readout arrows than this hide what they point at.
MAX_ARROWS = 20


def payload(report: Report) -> list[dict[str, Any]]:
    """Data of every layer that has a sample, ready for JSON.

    Returns
    -------
    list of dict
        ``layer``, ``axes`` (labels), ``classes`` (names and colours), ``visited``, ``final``,
        ``slow``, ``fixed`` (coordinates in columns, and what hovering shows), ``readouts``,
        ``words``, ``courses`` (sequences), ``pushed`` (names of logits), ``told`` (how all this
        was drawn) and ``missing`` (what is not there, and why).
    """
    views = {at: view for at, view in report.views.items() if view.sample is not None}
    share = max(len(views), 1)
    return [
        _layer(report, layer, view, MAX_POINTS // share, MAX_NUMBERS // share)
        for layer, view in views.items()
    ]


def block(data: Any) -> str:
    """JSON that no HTML parser takes for markup, whatever tokens hold."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _layer(report: Report, layer: str, view: View, points: int, numbers: int) -> dict[str, Any]:
    """At most so many points, and so many numbers of sequences."""
    sample = view.sample
    assert sample is not None
    visited, final = sample.visited, sample.final
    palette = Palette.of(
        sample.classes.names, visited.predicted, visited.label, final.predicted, final.label
    )
    words = _Words(sample.words)
    found = report.get("fixed_points", layer)
    still = found if isinstance(found, FixedPointsResult) else None
    n = min(points, len(visited.points))
    width = 4 + len(sample.pushes.classes)
    steps = numbers // (width * max(len(sample.courses), 1))
    steps = min(MAX_STEPS, max(MIN_STEPS, steps))
    return {
        "layer": layer,
        "axes": [percent_of_variance(view, i) for i in range(3)],
        "classes": {"names": palette.names, "colours": palette.colours},
        "visited": _marks(visited, n, palette, words),
        "final": _marks(final, points, palette, words),
        "slow": None if still is None else _slow(view, still),
        "fixed": None if still is None else _fixed(view, still),
        "readouts": _readouts(view),
        "courses": [_course(c, steps, palette, words) for c in sample.courses],
        "pushed": [shown(sample.logits[i], NAME_LENGTH) for i in sample.pushes.classes],
        "words": words.names,
        "named": bool(sample.words),
        "told": _told(view, sample, still, n, steps),
        "missing": _missing(sample, found),
    }


class _Words:
    """Names of tokens, each once; what has no name is shown by its number."""

    def __init__(self, known: dict[int, str]) -> None:
        self.known = known
        self.names: list[str] = []
        self.place: dict[int, int] = {}

    def of(self, ids: Tensor | None) -> list[int] | None:
        return None if ids is None else [self._at(i) for i in ids.tolist()]

    def _at(self, token: int) -> int:
        if token not in self.place:
            self.place[token] = len(self.names)
            name = self.known.get(token)
            self.names.append(str(token) if name is None else shown(name, NAME_LENGTH))
        return self.place[token]


def _marks(marks: Marks, n: int, palette: Palette, words: _Words) -> dict[str, Any]:
    def first(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[:n]

    return _columns(marks.points[:n]) | {
        "sequence": marks.sequence[:n].tolist(),
        "step": marks.step[:n].tolist(),
        "token": words.of(first(marks.token)),
        "label": palette.places(first(marks.label)),
        "predicted": palette.places(first(marks.predicted)),
    }


def _columns(points: Tensor) -> dict[str, Any]:
    return dict(zip("xyz", rounded(points.T), strict=True))


def _slow(view: View, found: FixedPointsResult) -> dict[str, Any]:
    slow = found.points[found.points.status == Status.SLOW][:MAX_STILL]
    return _columns(view.project(slow.states)) | {"speed": rounded(slow.speed)}


def _fixed(view: View, found: FixedPointsResult) -> dict[str, Any]:
    unique = found.unique[:MAX_STILL]
    kinds = [
        "on a continuum" if continuum else "attractor" if stable else "saddle or repeller"
        for continuum, stable in zip(
            found.on_continuum.tolist(), found.attractors.tolist(), strict=True
        )
    ]
    return _columns(view.project(unique.states)) | {
        "kind": kinds[:MAX_STILL],
        "unstable": found.n_unstable[:MAX_STILL].tolist(),
        "speed": rounded(unique.speed),
    }


def _readouts(view: View) -> dict[str, Any] | None:
    """Tips of the arrows: one factor for all, so that the longest reaches the edge of the cloud."""
    if view.readouts is None or len(view.readouts) > MAX_ARROWS:
        return None
    longest = float(view.readouts[:, :2].norm(dim=1).max())
    if not longest > 0:
        return None
    tips = view.readouts * (1.05 * radius(xy(view.points)) / longest)
    names = [view.classes[i] if i < len(view.classes) else f"class {i}" for i in range(len(tips))]
    return _columns(tips) | {"names": [shown(n, NAME_LENGTH) for n in names]}


def _course(course: Course, steps: int, palette: Palette, words: _Words) -> dict[str, Any]:
    tokens, push = course.tokens, course.push

    def place(c: int) -> int:
        return UNKNOWN if c < 0 else palette.place.get(c, len(palette.names) - 1)

    return _columns(course.path[: steps + course.from_start]) | {
        "sequence": course.row,
        "length": course.length,
        "started": course.from_start,
        "token": words.of(None if tokens is None else tokens[:steps]),
        "push": None if push is None else rounded(push[:steps]),
        "label": place(course.label),
        "predicted": place(course.predicted),
        "right": None
        if UNKNOWN in (course.label, course.predicted)
        else course.label == course.predicted,
        "confidence": course.confidence,
    }


def _told(
    view: View, sample: Sample, still: FixedPointsResult | None, n: int, steps: int
) -> dict[str, str]:
    """How many of how many are on the page, and how they were chosen."""
    seed, finals, kept = sample.seed, len(sample.final.points), len(sample.courses)
    states = f"{n:,} of {view.states_seen:,} states are drawn"
    chosen = f", chosen at random without replacement (seed {seed})"
    states += "" if n == view.states_seen else chosen
    ends = f"{finals:,} of {sample.sequences_seen:,} final states"
    ends += "" if finals == sample.sequences_seen else f", at random (seed {seed})"
    for kind, count in _still(still).items():
        if count > MAX_STILL:
            ends += f"; the first {MAX_STILL:,} of {count:,} {kind} points"
    texts = f"{kept:,} of {sample.sequences_seen:,} sequences"
    if kept < sample.sequences_seen:
        known = sample.courses[0].confidence is not None
        sure = ", of the most confident, of the surest wrong answers" if known else ""
        texts += f": up to {EACH} of the longest{sure}, and {EACH} at random (seed {seed})"
    if any(c.length > steps for c in sample.courses):
        texts += f"; of longer ones the first {steps} steps"
    return {"states": f"{states}; {ends}.", "courses": f"{texts}."}


def _still(found: FixedPointsResult | None) -> dict[str, int]:
    """How many points there are of each kind that the page draws."""
    if found is None:
        return {}
    return {"fixed": len(found.unique), "slow": found.points.count(Status.SLOW)}


def _missing(sample: Sample, found: object) -> dict[str, str]:
    """What the page cannot show, and why."""
    out = {}
    if sample.visited.token is None:
        out["text"] = (
            "There are no texts: token ids were not recorded. Name the embedding with "
            "dynprobe.attach(model, tokens=...), or give them with recording.annotate(tokens=...)."
        )
    elif not sample.words:
        out["words"] = (
            "Tokens are shown as numbers: there is no vocabulary. Give their names with "
            "dynprobe.attach(model, vocabulary=...)."
        )
    if sample.pushes.problem:
        out["push"] = f"Pushes are not shown: they need a linear readout ({sample.pushes.problem})."
        if sample.pushes.problem.startswith("of the states"):
            out["push"] = f"Pushes are not shown: {sample.pushes.problem}."
    if sample.visited.label is None:
        out["label"] = f"no labels: {sample.classes.problem}"
    if sample.visited.predicted is None:
        out["predicted"] = (
            "no predictions: there is no linear readout of each state"
            if sample.classes.told_apart
            else f"no predictions: {sample.classes.problem}"
        )
    if not isinstance(found, FixedPointsResult):
        out["still"] = "no fixed points: the search did not run"
    return out


def rounded(x: Tensor) -> Any:
    """Nested lists of numbers with four digits; None where there is none."""

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(v) for v in value]
        return float(f"{value:.4g}") if math.isfinite(value) else None

    return short(x.detach().to("cpu").double().tolist())
