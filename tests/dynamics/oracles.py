"""Plain float64 solvers to check the search against: slow, simple, and of other kinds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


def solve(matrix: Tensor, b: Tensor) -> Tensor:
    """One system after the other."""
    return torch.stack([torch.linalg.solve_ex(a, x)[0] for a, x in zip(matrix, b, strict=True)])


def levenberg_marquardt(
    step: Function, jacobian: Function, seeds: Tensor, iterations: int = 60
) -> Tensor:
    """Minimise q = 1/2 |F(s) - s|^2 from each seed."""
    s = seeds.double().clone()
    eye = torch.eye(s.shape[1], dtype=s.dtype)
    damping = torch.full((len(s),), 1e-2, dtype=s.dtype)
    q = (step(s) - s).square().sum(1)
    for _ in range(iterations):
        live = (q > 1e-28).nonzero().flatten()
        if len(live) == 0:
            break
        for rows in live.split(128):
            r, jac = step(s[rows]) - s[rows], jacobian(s[rows]) - eye
            normal = jac.mT @ jac + damping[rows, None, None] * eye
            gradient = (jac.mT @ r.unsqueeze(-1)).squeeze(-1)
            trial = s[rows] - torch.cholesky_solve(
                gradient.unsqueeze(-1), torch.linalg.cholesky(normal)
            ).squeeze(-1)
            left = (step(trial) - trial).square().sum(1)
            better = left < q[rows]
            s[rows[better]], q[rows[better]] = trial[better], left[better]
            damping[rows] *= torch.where(better, 0.2, 5.0)
        damping.clamp_(1e-14, 1e6)
    return s


def newton(step: Function, jacobian: Function, seeds: Tensor, iterations: int = 60) -> Tensor:
    """Solve F(s) = s with the natural monotonicity test, on F(s) - s as it is."""
    s = seeds.double().clone()
    eye = torch.eye(s.shape[1], dtype=s.dtype)
    live = torch.ones(len(s), dtype=torch.bool)
    for _ in range(iterations):
        rows = live.nonzero().flatten()
        if len(rows) == 0:
            break
        for some in rows.split(128):
            at = s[some]
            jac = jacobian(at) - eye
            d = -solve(jac, step(at) - at)
            size = d.norm(dim=1)
            live[some] = size.isfinite() & (size > 1e-12)
            tried = torch.zeros(len(some), dtype=torch.bool)
            share = 1.0
            while share > 1e-3 and not tried.all():
                trial = at + share * d
                left = solve(jac, step(trial) - trial).norm(dim=1)
                take = ~tried & (left <= (1 - share / 4) * size)
                s[some[take]] = trial[take]
                tried |= take | ~size.isfinite()
                share /= 2
            live[some] &= tried
    return s


def polished(
    step: Function, jacobian: Function, points: Tensor, scale: float, bound: float = 1.0
) -> Tensor:
    """The true fixed points next to some points, each once.

    Undamped Newton steps; kept where the residual is at most 1e-12 everywhere, the point moved by
    at most 1e-2 of the scale, and it lies in the invariant box.
    """
    eye = torch.eye(points.shape[1], dtype=torch.float64)
    found = points.double().clone()
    for _ in range(5):
        for rows in torch.arange(len(found)).split(128):
            at = found[rows]
            found[rows] = at - solve(jacobian(at) - eye, step(at) - at)
    found = torch.where(found.isfinite(), found, 1e3)
    good = (step(found) - found).abs().amax(1) <= 1e-12
    good &= (found - points).norm(dim=1) <= 1e-2 * scale
    good &= (found.abs() <= bound).all(1)
    return distinct(found[good], 1e-4 * scale)


def distinct(points: Tensor, apart: float) -> Tensor:
    """Points that lie further than `apart` from each other."""
    kept = points[:0]
    while len(points):
        kept = torch.cat([kept, points[:1]])
        points = points[(points - points[0]).norm(dim=1) > apart]
    return kept
