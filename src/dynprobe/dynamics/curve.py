"""Curves of fixed points: their equations, tangents, and the way back onto them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dynamics.krylov import directional
from dynprobe.dynamics.lu import LU
from dynprobe.dynamics.maps import Map

#: A Newton correction this small (in scales) is the last one: the next would be rounding.
CORRECTED = 1e-10
MOST_CORRECTIONS = 8
#: Each correction is at most this share of the one before, or the step is too long.
CONTRACTION = 0.5


@dataclass(frozen=True)
class Line:
    """The zeros of a map's root form while its input moves along a line, one for each run.

    Attributes
    ----------
    system : Map
        The map.
    origin, direction : Tensor
        (runs, input_dim), x0 and x1 - x0.
    scale : float
        Size of a typical state.
    """

    system: Map
    origin: Tensor
    direction: Tensor
    scale: float

    def take(self, rows: Tensor) -> Line:
        """Some of the runs."""
        return Line(self.system, self.origin[rows], self.direction[rows], self.scale)

    def inputs(self, mu: Tensor) -> Tensor:
        """x(mu), (runs, input_dim)."""
        return self.origin + mu[:, None] * self.direction

    def residual(self, y: Tensor) -> Tensor:
        """The root form at (runs, n + 1): (runs, n)."""
        return self.system.root(self.scale * y[:, :-1], self.inputs(y[:, -1]))

    def jacobian(self, y: Tensor) -> Tensor:
        """Its derivatives by y, (runs, n, n + 1)."""
        s, mu = self.scale * y[:, :-1], y[:, -1:]
        by_state = self.system.root_jacobian(s, self.inputs(mu[:, 0]))
        by_mu = directional(lambda m: self.system.root(s, self.inputs(m[:, 0])), mu)
        column = by_mu(torch.ones_like(mu)).expand(-1, s.shape[1])
        return torch.cat([self.scale * by_state, column.unsqueeze(-1)], dim=-1)

    def bordered(self, y: Tensor, row: Tensor) -> Tensor:
        """The derivatives and one more row, (runs, n + 1, n + 1)."""
        return torch.cat([self.jacobian(y), row.unsqueeze(1)], dim=1)

    def tangent(self, y: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """Unit tangents that point the way `along` does, and which way round they are.

        Returns
        -------
        tangent, orientation : Tensor
            (runs, n + 1), and (runs,) the sign of the determinant of the derivatives bordered by
            the tangent: it changes where curves cross, and not at a fold.
        """
        lu = LU.of(self.bordered(y, along))
        last = torch.zeros_like(y)
        last[:, -1] = 1
        t = lu.solve(last.unsqueeze(-1)).squeeze(-1)
        return t / t.norm(dim=1, keepdim=True), lu.determinant_sign()

    def correct(
        self, guess: Tensor, row: Tensor, level: Tensor, longest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Newton's method on the curve's equations and ``row . y = level``.

        Parameters
        ----------
        guess, row : Tensor
            (runs, n + 1).
        level, longest : Tensor
            (runs,), and how far the point may be from the guess.

        Returns
        -------
        y, done, corrections : Tensor
            The points, whether each was reached, and how many corrections it took.
        """
        y = guess.clone()
        done = torch.zeros_like(level, dtype=torch.bool)
        used = torch.zeros_like(level, dtype=torch.int64)
        before = longest.clone()
        active = torch.arange(len(y), device=y.device)
        for count in range(1, MOST_CORRECTIONS + 1):
            if len(active) == 0:
                break
            line, at, row_ = self.take(active), y[active], row[active]
            left = torch.cat(
                [line.residual(at), ((row_ * at).sum(1) - level[active])[:, None]], dim=1
            )
            finite = left.isfinite().all(1)
            matrix = torch.where(finite[:, None, None], line.bordered(at, row_), 0.0)
            d = -LU.of(matrix).solve(left.unsqueeze(-1)).squeeze(-1)
            size = d.norm(dim=1)
            share = 1.0 if count == 1 else CONTRACTION
            good = finite & (size <= (share * before[active]).clamp(min=CORRECTED))
            active, size = active[good], size[good]
            y[active] += d[good]
            before[active], used[active] = size, count
            done[active] = size <= CORRECTED
            active = active[size > CORRECTED]
        return y, done, used
