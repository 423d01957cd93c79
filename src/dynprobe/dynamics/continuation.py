"""Branches of fixed points while the held input moves."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.dynamics.arclength import Run, follow
from dynprobe.dynamics.branches import Branch, Branches
from dynprobe.dynamics.curve import Line
from dynprobe.dynamics.fixed_points import MERGE, FixedPoints
from dynprobe.dynamics.held import held_input, starting_points
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.marks import Kind, Mark, marks_of
from dynprobe.errors import ConvergenceError, ShapeError

#: Derivatives of the curve with a singular value this small against the largest have no single
#: null direction: curves cross there, or the fixed points form a continuum.
RANK = 1e-9
#: Newton's method may move a start by so many scales, and by no more.
START = 1e-2
#: A start whose tangent has a smaller part along mu lies at a fold.
AT_FOLD = 1e-6
#: Numbers of Jacobians in memory at once.
JACOBIANS = 1 << 22


@torch.no_grad()
def continue_fixed_points(
    recurrence: Map,
    points: FixedPoints | Tensor,
    to: Tensor,
    *,
    inputs: Tensor | None = None,
    between: tuple[float, float] = (0.0, 1.0),
    max_step: float = 0.05,
    max_points: int = 2000,
) -> Branches:
    """Follow fixed points while the held input moves from theirs to another.

    Along x(mu) = x0 + mu (x1 - x0), with x0 the input that a point was found at and x1 = `to`,
    every fixed point is followed by pseudo-arclength continuation, both ways and round folds, until
    its branch leaves the range of mu or comes back to its start.

    Parameters
    ----------
    recurrence : Recurrence
        The map; differentiable in state and input.
    points : FixedPoints or Tensor
        A search's result, of which the distinct FIXED points are followed, or states (points,
        state_dim) that are fixed points.
    to : Tensor
        x1, (input_dim,), or one for each point (points, input_dim).
    inputs : Tensor, optional
        With states: x0, (input_dim,) or (points, input_dim); zero by default.
    between : tuple of float
        The range of mu, with 0 in it. (-1, 2) goes as far again beyond either input.
    max_step : float
        Longest step of arclength, in state scales and units of mu.
    max_points : int
        Of a branch, either way.

    Returns
    -------
    Branches
        ``dynprobe.draw(branches)`` makes a picture of them.

    Raises
    ------
    ShapeError
        If widths do not fit, there are no points or not a number among them, 0 is not in the
        range of mu, or a step or number of points makes no sense.
    ConvergenceError
        If a state given is no fixed point.

    Notes
    -----
    Folds and branch points are recognised by a sign that changes between two points of a branch
    (of the tangent's part along mu, of the determinant of the derivatives bordered by the
    tangent) and then located to rounding. Two of them within one step cancel and are missed, a
    smaller `max_step` tells. Branches that cross at a branch point are not switched to: search for
    fixed points on the other side of it, and follow those. A change of `n_unstable` without a mark
    is an eigenvalue that leaves the unit circle elsewhere than at 1: at -1 an orbit of period two
    is born, a complex pair gives birth to an invariant circle.

    Each point costs a few Jacobians and factorisations, and its eigenvalues at the end: states of
    some hundred numbers.
    """
    low, high = between
    if not low <= 0 <= high or low == high:
        raise ShapeError(
            f"between={between} must be a range of mu with 0, where the points are, in it."
        )
    if not max_step > 0 or max_points < 2:
        raise ShapeError(
            f"max_step={max_step} must be positive, and max_points={max_points} 2 or more."
        )
    if isinstance(points, FixedPoints):
        if inputs is not None:
            raise ShapeError("These fixed points carry the inputs they were found at; give none.")
        points = points.unique()
        if len(points) == 0:
            raise ShapeError("None of these points is FIXED: there is nothing to follow.")
    states, scale = starting_points(recurrence, points)
    x0 = held_input(recurrence, inputs, states, points, "inputs")
    x1 = held_input(recurrence, to, states, points, "to")
    if bool((x1 == x0).all(1).any()):
        same = int((x1 == x0).all(1).nonzero()[0])
        raise ShapeError(f"`to` is the very input of point {same}: there is no line to follow.")
    line = Line(recurrence, x0, x1 - x0, scale)
    start, tangent, single = _starts(line, states)
    rows = single.nonzero().flatten().repeat_interleave(2)  # forward and backward
    way = torch.tensor([1.0, -1.0]).repeat(len(rows) // 2).to(start)
    runs = follow(
        line.take(rows),
        start[rows],
        way[:, None] * tangent[rows],
        between=(low, high),
        max_step=max_step,
        max_points=max_points,
    )
    pairs = dict(zip(rows[::2].tolist(), zip(runs[::2], runs[1::2], strict=True), strict=True))
    found: list[Branch] = []
    on_earlier: set[int] = set()
    for i in range(len(start)):
        if i in on_earlier:
            continue
        own = torch.tensor([i], device=start.device)
        forward, backward = pairs.get(i, (_unfollowed(start[i]), _unfollowed(start[i])))
        ys = torch.stack(
            forward.points if forward.closed else [*backward.points[:0:-1], *forward.points]
        )
        here = _on(line, own, ys, start, i)
        on_earlier |= set(here)
        found.append(_branch(line.take(own), forward, backward, ys, (i, *here)))
    return Branches(tuple(found), scale)


def _starts(line: Line, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where to start, which way, and whether there is one way only."""
    y = torch.cat([states / line.scale, torch.zeros_like(states[:, :1])], dim=1)
    tangent = torch.empty_like(y)
    single = torch.ones_like(y[:, 0], dtype=torch.bool)
    for i in range(len(y)):
        some = line.take(torch.tensor([i], device=y.device))
        _, values, vh = torch.linalg.svd(some.jacobian(y[i : i + 1])[0])
        single[i] = values[-1] > RANK * values[0]
        tangent[i] = vh[-1] if vh[-1, -1] >= 0 else -vh[-1]
    edge = torch.zeros_like(y)
    edge[:, -1] = 1
    row = torch.where(tangent[:, -1:] > AT_FOLD, edge, tangent)
    far = torch.full_like(y[:, 0], START)
    exact, reached, _ = line.correct(y, row, (row * y).sum(1), far)
    lost = (single & ~reached).nonzero().flatten()
    if len(lost):
        i = int(lost[0])
        speed = float((line.system.step(states, line.origin) - states)[i].norm())
        raise ConvergenceError(
            f"Point {i} is no fixed point under its input: a step moves it by {speed:.1e}, and "
            "Newton's method finds none beside it. Start from find_fixed_points(...)."
        )
    return torch.where(single[:, None], exact, y), tangent, single


def _unfollowed(start: Tensor) -> Run:
    reason = "the start is a branch point or lies on a continuum: there is no single way to go"
    return Run([start], [torch.zeros_like(start)], [0], ended=reason)


def _on(line: Line, own: Tensor, ys: Tensor, start: Tensor, i: int) -> list[int]:
    """Starts after the i-th that lie on its branch: compared where the branch has mu = 0."""
    others = [
        j
        for j in range(i + 1, len(start))
        if torch.equal(line.origin[j], line.origin[i])
        and torch.equal(line.direction[j], line.direction[i])
    ]
    mu = ys[:, -1]
    crossings = ys[mu.abs() <= RANK]
    k = (mu[:-1] * mu[1:] < 0).nonzero().flatten()
    if len(k):
        share = (mu[k] / (mu[k] - mu[k + 1]))[:, None]
        guess = ys[k] + share * (ys[k + 1] - ys[k])
        edge = torch.zeros_like(guess)
        edge[:, -1] = 1
        zero, far = torch.zeros_like(mu[k]), torch.full_like(mu[k], START)
        exact, _, _ = line.take(own.expand(len(k))).correct(guess, edge, zero, far)
        crossings = torch.cat([crossings, exact])
    if len(crossings) == 0:
        return []
    return [j for j in others if float((crossings - start[j]).norm(dim=1).min()) <= MERGE]


def _branch(line: Line, forward: Run, backward: Run, ys: Tensor, starts: tuple[int, ...]) -> Branch:
    """Both runs as one branch, with its marks and its stability. `line` is theirs alone."""

    def mark(kind: Kind, y: Tensor, after: int) -> Mark:
        return Mark(
            kind=kind,
            position=float(y[-1]),
            state=(line.scale * y[:-1]).cpu(),
            input=line.inputs(y[-1:])[0].cpu(),
            after=after,
        )

    marks = []
    first = 0
    if not forward.closed:
        first = len(backward.points) - 1
        marks = [mark(kind, y, first - 1 - i) for kind, i, y in reversed(marks_of(line, backward))]
    marks += [mark(kind, y, first + i) for kind, i, y in marks_of(line, forward)]
    states, position = line.scale * ys[:, :-1], ys[:, -1]
    inputs = line.inputs(position)
    n = states.shape[1]
    magnitudes = torch.cat(
        [
            torch.linalg.eigvals(line.system.jacobian(s, x).cpu()).abs()
            for s, x in zip(
                states.split(max(1, JACOBIANS // n**2)),
                inputs.split(max(1, JACOBIANS // n**2)),
                strict=True,
            )
        ]
    )
    return Branch(
        states=states.cpu(),
        position=position.cpu(),
        inputs=inputs.cpu(),
        n_unstable=(magnitudes > 1).sum(1),
        spectral_radius=magnitudes.amax(1),
        marks=tuple(marks),
        starts=starts,
        ends=((forward if forward.closed else backward).ended, forward.ended),
        closed=forward.closed,
    )
