"""Following curves of fixed points, by pseudo-arclength continuation.

Along a line of inputs x(mu) = x0 + mu (x1 - x0) the fixed points form curves in y = (s / scale,
mu). A step goes along the tangent and back to the curve at a right angle to it, so that a fold,
where mu turns round, is a point like any other (Keller 1977, "Numerical solution of bifurcation
and nonlinear eigenvalue problems"; Kuznetsov 2004, "Elements of applied bifurcation theory",
section 10.2). All runs step at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from dynprobe.dynamics.curve import Line

#: Cosine between tangents: a step that turns more is tried again at half the length, and one that
#: turns less than the second is followed by a longer one.
TURN, STRAIGHT = 0.96, 0.995
LONGER, EASY = 1.5, 4
#: Steps, in units of arclength: the first, and the least before a run is given up.
FIRST_STEP, SMALLEST_STEP = 1e-2, 1e-8
#: A step as short as this that still turns has crossed a kink (of a relu), and may turn more.
KINK_STEP, KINK_TURN, KINK_MOVE = 1e-6, 0.1, 10.0
#: A state of so many scales has left for infinity.
FAR = 1e3


@dataclass
class Run:
    """One curve, followed one way.

    Attributes
    ----------
    points, tangents : list of Tensor
        (n + 1,) each, the start first.
    orientations : list of int
        Of the tangents, see :meth:`Line.tangent`.
    ended : str
        Why it went no further.
    closed : bool
        Whether it came back to its start.
    """

    points: list[Tensor] = field(default_factory=list)
    tangents: list[Tensor] = field(default_factory=list)
    orientations: list[int] = field(default_factory=list)
    ended: str = ""
    closed: bool = False

    def add(self, y: Tensor, tangent: Tensor, orientation: int) -> None:
        """One more point."""
        self.points.append(y)
        self.tangents.append(tangent)
        self.orientations.append(orientation)

    @property
    def back(self) -> bool:
        """Whether the last step went through the start, in the direction it left it."""
        if len(self.points) < 4:
            return False
        start, t = self.points[0], self.tangents[0]
        step = self.points[-1] - self.points[-2]
        before, after = self.points[-2] - start, self.points[-1] - start
        passed = float(before @ t) < 0 <= float(after @ t)
        return passed and float(before.norm()) <= 1.5 * float(step.norm())


def follow(
    line: Line,
    start: Tensor,
    tangent: Tensor,
    *,
    between: tuple[float, float],
    max_step: float,
    max_points: int,
) -> list[Run]:
    """Follow each curve from its start until it leaves the range of mu.

    Parameters
    ----------
    line : Line
        Of as many runs as there are starts.
    start, tangent : Tensor
        (runs, n + 1), points of the curves and unit tangents there: the way to go.
    between : tuple of float
        The range of mu.
    max_step : float
        Longest step of arclength, in state scales and units of mu.
    max_points : int
        Of one run.
    """
    low, high = between
    y, t = start.clone(), tangent.clone()
    _, orientation = line.tangent(y, t)
    runs = [Run([a], [b], [int(o)]) for a, b, o in zip(start, tangent, orientation, strict=True)]
    step = torch.full_like(y[:, 0], min(FIRST_STEP, max_step))
    edge = torch.zeros_like(y)
    edge[:, -1] = 1
    for i, run in enumerate(runs):
        outward = (y[i, -1] <= low and t[i, -1] < 0) or (y[i, -1] >= high and t[i, -1] > 0)
        if outward:
            run.ended = _edge(float(y[i, -1]))
    while True:
        active = [i for i, run in enumerate(runs) if not run.ended]
        if not active:
            return runs
        rows = torch.tensor(active, device=y.device)
        some, at, along, h = line.take(rows), y[rows], t[rows], step[rows]
        level = (along * at).sum(1) + h
        short = h <= KINK_STEP
        farthest = torch.where(short, KINK_MOVE, 0.5) * h
        new, good, used = some.correct(at + h[:, None] * along, along, level, farthest)
        out = good & ((new[:, -1] < low) | (new[:, -1] > high))
        if bool(out.any()):  # put the last point on the edge
            limit = torch.where(new[:, -1] < low, low, high)
            share = (limit - at[:, -1]) / (new[:, -1] - at[:, -1])
            guess = at + share[:, None] * (new - at)
            on_edge, reached, _ = some.correct(guess, edge[rows], limit, h)
            new = torch.where(out[:, None], on_edge, new)
            good &= ~out | reached
        ahead, orientation = some.tangent(torch.where(good[:, None], new, at), along)
        cosine = (ahead * along).sum(1)
        good &= cosine >= torch.where(short, KINK_TURN, TURN)
        y[rows] = torch.where(good[:, None], new, at)
        t[rows] = torch.where(good[:, None], ahead, along)
        easy = (cosine >= STRAIGHT) & (used <= EASY)
        longer = torch.where(easy, LONGER * h, h)
        longer = torch.where(short & (cosine < TURN), FIRST_STEP, longer).clamp(max=max_step)
        step[rows] = torch.where(good, longer, h / 2)
        for k, i in enumerate(active):
            run = runs[i]
            if bool(good[k]):
                run.add(y[i].clone(), t[i].clone(), int(orientation[k]))
                if bool(out[k]):
                    run.ended = _edge(float(y[i, -1]))
                elif run.back:
                    run.ended, run.closed = "the curve is closed", True
                elif float(y[i, :-1].norm()) > FAR:
                    run.ended = f"the state grew beyond {FAR:g} scales"
                elif len(run.points) >= max_points:
                    run.ended = f"{max_points} points are enough (max_points)"
            elif float(step[i]) < SMALLEST_STEP:
                run.ended = (
                    f"no step succeeds from mu = {float(y[i, -1]):.6g}: the map has a jump or a "
                    "pole there, or turns back in a kink"
                )


def _edge(mu: float) -> str:
    return f"mu = {mu:g}, an end of the range"
