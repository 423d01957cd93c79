"""The rows of a comparison: one measure of every model, or why a model has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dynprobe.comparison.mechanism import Mechanism
from dynprobe.comparison.sides import Answers, Side
from dynprobe.dynamics.pushes import Response
from dynprobe.geometry.simplex import readout_geometry
from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.report.comparison import MEMORY, MODEL, STREAM, Cell, Dimension, Row
from dynprobe.report.summary import number

Found = dict[str, Dimension | str]
#: Angles of more readouts than these are shown as a range.
PAIRS = 6


def missing(why: str) -> Cell:
    """A cell that says why it is empty."""
    return Cell(why, missing=True)


def model_rows(sides: Sequence[Side], answered: dict[str, Answers | None]) -> Iterator[Row]:
    """Size and answers."""
    yield Row(
        MODEL,
        "parameters",
        {s.name: Cell(f"{s.parameters:,}", float(s.parameters)) for s in sides},
    )
    first = answered[sides[0].name]
    right: dict[str, Cell] = {}
    same: dict[str, Cell] = {}
    for side in sides:
        mine = answered[side.name]
        if mine is None:
            right[side.name] = same[side.name] = missing("no logits were recorded")
            continue
        accuracy = mine.labels.accuracy(mine.given)
        right[side.name] = (
            missing(mine.labels.problem or "labels are unknown")
            if accuracy is None
            else Cell(f"{accuracy:.3f}", accuracy)
        )
        if first is None:
            same[side.name] = missing(f"{sides[0].name} has no logits")
        elif first.given.shape != mine.given.shape:
            same[side.name] = missing(f"{sides[0].name} has answers to other questions")
        else:
            same[side.name] = _share(mine.given, first.given)
    each = any(a is not None and a.labels.of_each for a in answered.values())
    of_what = "labels" if each else "sequences"
    yield Row(MODEL, "accuracy", right, f"share of the {of_what}")
    yield Row(MODEL, "same answer", same, f"as {sides[0].name}, share of the {of_what}")


def stream_rows(sides: Sequence[Side], dimensions: Found) -> Iterator[Row]:
    """What the classifier reads."""
    yield Row(STREAM, "width", {s.name: _width(s.stream) for s in sides}, "numbers at a position")
    yield from _dimension_rows(STREAM, sides, dimensions)
    yield Row(
        STREAM,
        "readout angles",
        {
            s.name: _angles(s.stream if isinstance(s.stream, str) else s.stream.readout)
            for s in sides
        },
        _simplex(sides),
    )


def memory_rows(
    sides: Sequence[Side],
    states: Found,
    read: Found,
    mechanisms: dict[str, Mechanism | str],
) -> Iterator[Row]:
    """What is carried from step to step."""
    yield Row(MEMORY, "layer", {s.name: Cell(s.memory.layer) for s in sides})
    yield Row(
        MEMORY,
        "state",
        {s.name: Cell(f"{s.memory.layout}", float(s.memory.layout.size)) for s in sides},
        "parts and their shapes",
    )
    yield from _dimension_rows(MEMORY, sides, states)
    if any(isinstance(d, Dimension) for d in read.values()):
        yield Row(
            MEMORY,
            "participation ratio of S/z",
            {s.name: _cell(read[s.name], _ratio) for s in sides},
            "the mean that the layer reads out",
        )
    yield Row(
        MEMORY,
        "linear readout",
        {
            s.name: missing(s.readout.split(";")[0])
            if isinstance(s.readout, str)
            else Cell(s.readout.name)
            for s in sides
        },
        "a classifier that reads it as it is",
    )
    for measure, show, meaning in (
        ("fixed points", _points, "distinct and certified, mean input held"),
        ("slowest time constants", _times, _lengths(sides)),
        ("push off the manifold", _off, _pushed(sides)),
        ("push along the manifold", _along, "the control: a memory has to keep these"),
    ):
        cells = {s.name: _cell(mechanisms[s.name], show) for s in sides}
        yield Row(MEMORY, measure, cells, meaning)


def _cell(found: object, show: Callable[..., Cell]) -> Cell:
    return missing(found) if isinstance(found, str) else show(found)


def _share(a: Tensor, b: Tensor) -> Cell:
    value = float((a == b).to(torch.float64).mean())
    return Cell(f"{value:.3f}", value)


def _width(stream: Recording | str) -> Cell:
    if isinstance(stream, str):
        return missing(stream)
    return Cell(str(stream.layout.size), float(stream.layout.size))


def _dimension_rows(notion: str, sides: Sequence[Side], found: Found) -> Iterator[Row]:
    yield Row(
        notion,
        "participation ratio",
        {s.name: _cell(found[s.name], _ratio) for s in sides},
        "dimensions that visited states use",
    )
    yield Row(
        notion,
        "components for 95 %",
        {s.name: _cell(found[s.name], _components) for s in sides},
        "of the variance of visited states",
    )


def _ratio(d: Dimension) -> Cell:
    beside = "" if d.null is None else f" (random inputs {d.null.participation_ratio:.2f})"
    return Cell(f"{d.participation_ratio:.2f}{beside}", d.participation_ratio)


def _components(d: Dimension) -> Cell:
    def many(d: Dimension) -> str:
        return f"more than {len(d.shares)}" if d.components_95 is None else str(d.components_95)

    beside = "" if d.null is None else f" (random inputs {many(d.null)})"
    value = None if d.components_95 is None else float(d.components_95)
    return Cell(many(d) + beside, value)


def _angles(readout: Readout | str | None) -> Cell:
    if not isinstance(readout, Readout):
        return missing(readout or "there is no linear readout")
    if readout.n_classes < 2:
        return missing("one readout vector has no angles")
    pairs = readout_geometry(readout.weight).pair_angles
    mean = float(pairs.mean())
    if len(pairs) <= PAIRS:
        return Cell(", ".join(f"{a:.0f}°" for a in pairs.tolist()), mean)
    return Cell(f"{float(pairs.min()):.0f}° to {float(pairs.max()):.0f}°", mean)


def _simplex(sides: Sequence[Side]) -> str:
    for side in sides:
        if isinstance(side.stream, Recording) and side.stream.readout is not None:
            weight = side.stream.readout.weight
            if len(weight) > 1:
                return f"a simplex has {readout_geometry(weight).simplex_angle:.0f}°"
    return "of each pair of classes"


def _points(m: Mechanism) -> Cell:
    if m.accumulates:
        return missing("none: every direction is marginal, nothing is ever forgotten")
    if m.eigenvalues is not None:
        marginal = int((m.eigenvalues == 1).sum())
        if marginal:
            return missing(f"none: {marginal} of {len(m.eigenvalues)} directions are marginal")
        return Cell("1, in closed form: the map is affine", 1.0)
    if isinstance(m.points, str):
        return missing(m.points)
    found = m.points
    seeds = found.n_fixed + found.n_slow + found.n_unconverged
    text = f"{len(found.unique)}"
    if len(found.unique):
        stable, saddles = int(found.attractors.sum()), int(found.saddles.sum())
        on = int(found.on_continuum.sum())
        kinds = [(stable, "stable"), (saddles, "saddle"), (on, "on a continuum")]
        text += f" ({', '.join(f'{n} {kind}' for n, kind in kinds if n)})"
    text += f"; {found.n_slow} of {seeds} seeds on slow points"
    return Cell(text, float(len(found.unique)))


def _times(m: Mechanism) -> Cell:
    if m.accumulates:
        return Cell("endless, all of them", float("inf"))
    if m.eigenvalues is not None:
        slowest = -1 / m.eigenvalues.log().clamp(max=-1e-300)
        taus = slowest.sort(descending=True).values[:4].tolist()
        return Cell(", ".join(number(t) for t in taus) + " steps", taus[0])
    if isinstance(m.slow, str):
        return missing(m.slow)
    taus = m.slow.time_constants[:4, 1].tolist()
    return Cell(", ".join(number(t) for t in taus) + f" {m.slow.unit}", taus[0])


def _lengths(sides: Sequence[Side]) -> str:
    median = float(sides[0].memory.lengths.to(torch.float64).median())
    return f"a sequence has {median:g} steps"


def _pushed(sides: Sequence[Side]) -> str:
    median = float(sides[0].memory.lengths.to(torch.float64).median())
    return f"left of it after {median:g} steps, median"


def _off(m: Mechanism) -> Cell:
    return missing(m.push) if isinstance(m.push, str) else _response(m.push.off)


def _along(m: Mechanism) -> Cell:
    if isinstance(m.push, str):
        return missing(m.push)
    return missing("no push along it") if m.push.along is None else _response(m.push.along)


def _response(found: Response) -> Cell:
    left = median_left(found)
    return Cell(f"{percent(left)} left: {found.answer}", left)


def percent(share: float) -> str:
    """A share of a push; next to nothing is not called nothing."""
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def median_left(found: Response) -> float:
    """Share of a push that is left at the end of the run, median over pushes."""
    return float(found.own[:, -1].quantile(0.5, interpolation="nearest"))
