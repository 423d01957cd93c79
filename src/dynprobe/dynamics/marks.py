"""Where a curve of fixed points folds, and where another one crosses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from dynprobe.dynamics.arclength import Run
from dynprobe.dynamics.curve import Line

#: Width of the bracket (of arclength) in which a mark is known to lie.
BRACKET = 1e-12
MOST_HALVINGS = 60
#: A fold and a crossing closer than this (of arclength) are one point: the apex of a pitchfork.
SAME_MARK = 1e-4

# Called as test(y (n + 1,), tangent (n + 1,)): changes its sign at the mark.
Test = Callable[[Tensor, Tensor], float]


class Kind(StrEnum):
    """What happens at a mark."""

    FOLD = "fold"
    BRANCH_POINT = "branch point"


@dataclass(frozen=True)
class Mark:
    """A fold or a branch point of a branch.

    Attributes
    ----------
    kind : Kind
        ``FOLD``: mu turns round, two fixed points meet and vanish. ``BRANCH_POINT``: another curve
        of fixed points crosses this one.
    position : float
        mu.
    state : Tensor
        (state_dim,).
    input : Tensor
        (input_dim,).
    after : int
        It lies between points `after` and `after + 1` of the branch.
    """

    kind: Kind
    position: float
    state: Tensor
    input: Tensor
    after: int


def marks_of(line: Line, run: Run) -> list[tuple[Kind, int, Tensor]]:
    """All marks of one run: kind, number of the point before it, and y (n + 1,).

    Parameters
    ----------
    line : Line
        Of this run alone.
    run : Run
        What was followed.
    """
    marks = []
    for i in range(len(run.points) - 1):
        y, t = run.points[i], run.tangents[i]
        length = float(t @ (run.points[i + 1] - y))
        folds = bool(t[-1] * run.tangents[i + 1][-1] < 0)
        crosses = run.orientations[i] != run.orientations[i + 1]
        found: list[tuple[Kind, int, Tensor]] = []
        if crosses:
            at = _locate(line, y, t, length, run.points[i + 1], _determinant(line, y, t))
            found.append((Kind.BRANCH_POINT, i, at))
        if folds:
            at = _locate(line, y, t, length, run.points[i + 1], lambda _, ahead: float(ahead[-1]))
            if not crosses or float((at - found[0][2]).norm()) > SAME_MARK:
                found.append((Kind.FOLD, i, at))
        marks += sorted(found, key=lambda mark: float(t @ mark[2]))
    return marks


def _determinant(line: Line, y: Tensor, t: Tensor) -> Test:
    """Determinant of the bordered derivatives, in units of that at the beginning of the step."""

    def log_determinant(at: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        sign, log = torch.linalg.slogdet(line.bordered(at[None], along[None])[0])
        return sign, log

    first, size = log_determinant(y, t)

    def test(at: Tensor, along: Tensor) -> float:
        sign, log = log_determinant(at, along)
        return float(sign * first * (log - size).clamp(max=300).exp())

    return test


@dataclass(frozen=True)
class _End:
    """One end of a bracket.

    `length` is how far along the step it lies, `slope` (n + 1,) how the curve moves with that.
    """

    length: float
    point: Tensor
    slope: Tensor
    value: float


def _locate(line: Line, y: Tensor, t: Tensor, length: float, end: Tensor, test: Test) -> Tensor:
    """The zero of a test between two points, by the Illinois rule on the step's length."""

    def measured(length: float, point: Tensor) -> _End:
        tangent, _ = line.tangent(point[None], t[None])
        slope = tangent[0] / (tangent[0] @ t)
        return _End(length, point, slope, test(point, tangent[0]))

    low, high = measured(0.0, y), measured(length, end)
    f_low, f_high = low.value, high.value
    last = high
    side = 0
    for _ in range(MOST_HALVINGS):
        if f_low * f_high >= 0 or high.length - low.length <= BRACKET:
            break
        at = (low.length * f_high - high.length * f_low) / (f_high - f_low)
        last = measured(at, _between(line, t, y, low, high, at))
        if last.value == 0 or min(at - low.length, high.length - at) <= BRACKET:
            break
        if last.value * f_low > 0:
            low, f_low = last, last.value
            f_high, side = (f_high / 2 if side < 0 else f_high), -1
        else:
            high, f_high = last, last.value
            f_low, side = (f_low / 2 if side > 0 else f_low), 1
    return last.point


def _between(line: Line, t: Tensor, y: Tensor, low: _End, high: _End, at: float) -> Tensor:
    """The curve's point inside a bracket.

    The guess is the cubic through both ends with their slopes. Next to a crossing the equations
    are nearly singular, and Newton's method converges from a close guess only, or not at all:
    then the cubic, exact to the fourth order of the bracket, is the answer.
    """
    width = high.length - low.length
    u = (at - low.length) / width
    guess = (
        (1 + 2 * u) * (1 - u) ** 2 * low.point
        + u * (1 - u) ** 2 * width * low.slope
        + u**2 * (3 - 2 * u) * high.point
        + u**2 * (u - 1) * width * high.slope
    )
    level = (t @ y + at)[None]
    point, reached, _ = line.correct(guess[None], t[None], level, level.new_tensor([width**2]))
    return point[0] if bool(reached[0]) else guess
