"""From a first guess to a local minimum of |A - C B C^T|_F: Newton on the orthogonal group.

A trust-region method with truncated conjugate gradients (Absil, Baker & Gallivan 2007). Moves are
C -> cay(W) C with W antisymmetric and cay the Cayley transform, which keeps C orthogonal.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dynprobe.dynamics.conjugacy_starts import polar

#: Newton steps, and products with the Hessian in each.
MOST_STEPS = 100
MOST_PRODUCTS = 60
#: The longest move, an angle of 1 in n / 2 planes is sqrt(n).
FIRST_RADIUS = 0.5


def refine(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    """A local minimum near an orthogonal (n, n) guess, orthogonal to rounding."""
    scale = float(a.norm() * b.norm())
    if scale == 0:
        return start
    c = start
    turned = c @ b @ c.T
    value = float((a * turned).sum())
    radius = FIRST_RADIUS
    for _ in range(MOST_STEPS):
        gradient = _gradient(a, turned)
        if float(gradient.norm()) <= 1e-14 * scale:
            break
        move, gain = _solve(partial(_hessian, a, turned), gradient, radius)
        turn = _cayley(move)
        trial = turn @ turned @ turn.T
        reached = float((a * trial).sum())
        ratio = (reached - value) / gain if gain > 0 else 0.0
        if reached > value:
            c, turned, value = turn @ c, trial, reached
        if gain <= 1e-15 * scale:
            break
        length = float(move.norm())
        if ratio < 0.25:
            radius = length / 4
        elif ratio > 0.75 and length > 0.99 * radius:
            radius = 2 * radius
    return polar(c)


def _gradient(a: Tensor, x: Tensor) -> Tensor:
    """Of <A, e^W X e^-W> at W = 0, by an antisymmetric W."""
    m = a @ x.T - x.T @ a
    return (m - m.T) / 2


def _hessian(a: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """Its second derivative along w, symmetric in the two directions."""
    y = w @ x - x @ w
    z = w @ a - a @ w
    m = a @ y.T - y.T @ a - (z @ x.T - x.T @ z)
    return (m - m.T) / 4


def _cayley(w: Tensor) -> Tensor:
    """(I - W / 2)^-1 (I + W / 2): orthogonal, and e^W to second order."""
    eye = torch.eye(len(w), dtype=w.dtype)
    out: Tensor = torch.linalg.solve(eye - w / 2, eye + w / 2)
    return out


def _solve(
    hessian: Callable[[Tensor], Tensor], gradient: Tensor, radius: float
) -> tuple[Tensor, float]:
    """Maximise <g, W> + <W, H W> / 2 within |W| <= radius (Steihaug 1983): W, and what it gains."""
    w = torch.zeros_like(gradient)
    applied = torch.zeros_like(gradient)  # H w
    r, d = gradient, gradient
    rr = float((r * r).sum())
    target = rr * min(0.01, rr**0.5 / 100)
    for _ in range(MOST_PRODUCTS):
        hd = hessian(d)
        curvature = -float((d * hd).sum())
        step = rr / curvature if curvature > 0 else float("inf")
        outside = curvature <= 0 or float((w + step * d).norm()) >= radius
        if outside:
            step = _to_boundary(w, d, radius)
        w, applied = w + step * d, applied + step * hd
        if outside:
            break
        r = r + step * hd
        new = float((r * r).sum())
        if new <= target:
            break
        d, rr = r + new / rr * d, new
    return w, float((gradient * w).sum() + (w * applied).sum() / 2)


def _to_boundary(w: Tensor, d: Tensor, radius: float) -> float:
    dd, wd, ww = (float((p * q).sum()) for p, q in ((d, d), (w, d), (w, w)))
    return float((-wd + (wd * wd + dd * (radius * radius - ww)) ** 0.5) / dd)
