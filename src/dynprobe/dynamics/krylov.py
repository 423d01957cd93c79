"""Newton corrections without Jacobians, for states too large to factor one for every seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Vectors of one Krylov space, and how often it is restarted.
SPACE = 40
RESTARTS = 3
#: A correction is solved to this share of the residual; the next ones mend the rest.
FORCING = 1e-4


@dataclass(frozen=True)
class KrylovCorrection:
    """-J^-1 r by GMRES (Saad & Schultz 1986), all points at once.

    Attributes
    ----------
    residual : callable
        (b, n), (b,) -> (b, n), as the Newton iteration has it.
    states, index : Tensor
        Where it is linearised.
    product : callable
        (b, n) -> (b, n), J v at these states.
    """

    residual: Callable[[Tensor, Tensor], Tensor]
    states: Tensor
    index: Tensor
    product: Callable[[Tensor], Tensor]

    usable = None

    @classmethod
    def of(
        cls, residual: Callable[[Tensor, Tensor], Tensor], states: Tensor, index: Tensor
    ) -> KrylovCorrection:
        """Linearise at (b, n) states."""
        return cls(residual, states, index, directional(lambda s: residual(s, index), states))

    def take(self, rows: Tensor) -> KrylovCorrection:
        if len(rows) == len(self.index):
            return self
        return KrylovCorrection.of(self.residual, self.states[rows], self.index[rows])

    def __call__(self, r: Tensor) -> Tensor:
        return gmres(self.product, -r)


def directional(f: Callable[[Tensor], Tensor], at: Tensor) -> Callable[[Tensor], Tensor]:
    """v -> df/ds v at fixed states, by differentiating the (linear) backward pass once more."""
    with torch.enable_grad():
        s = at.detach().clone().requires_grad_(True)  # one made in inference mode takes no gradient
        y = f(s)
        if not y.requires_grad:
            return torch.zeros_like
        dual = torch.zeros_like(y, requires_grad=True)
        (backward,) = torch.autograd.grad(y, s, dual, create_graph=True)

    def product(v: Tensor) -> Tensor:
        if not backward.requires_grad:
            return torch.zeros_like(y)
        (out,) = torch.autograd.grad(backward, dual, v, retain_graph=True, materialize_grads=True)
        return out

    return product


def gmres(product: Callable[[Tensor], Tensor], b: Tensor) -> Tensor:
    """Solve A x = b for many systems at once.

    Parameters
    ----------
    product : callable
        (batch, n) -> (batch, n), A v.
    b : Tensor
        (batch, n).

    Returns
    -------
    Tensor
        (batch, n), with a residual of at most ``FORCING`` of |b|, or what the restarts gave.
    """
    x = torch.zeros_like(b)
    target = FORCING * b.norm(dim=1)
    r = b
    for _ in range(RESTARTS):
        x = x + _cycle(product, r, target)
        r = b - product(x)
        if bool((r.norm(dim=1) <= target).all()):
            break
    return x


def _cycle(product: Callable[[Tensor], Tensor], r: Tensor, target: Tensor) -> Tensor:
    batch, n = r.shape
    space = min(SPACE, n)
    tiny = torch.finfo(r.dtype).tiny
    size = r.norm(dim=1)
    basis = r.new_zeros(batch, space + 1, n)
    h = r.new_zeros(batch, space + 1, space)
    basis[:, 0] = r / size.clamp(min=tiny)[:, None]
    e = r.new_zeros(batch, space + 1, 1)
    e[:, 0, 0] = size
    used = 0
    y = r.new_zeros(batch, 0, 1)
    for j in range(space):
        w = product(basis[:, j])
        spanned = basis[:, : j + 1]
        for _ in range(2):  # a second pass removes what rounding left of the first
            part = (spanned @ w.unsqueeze(-1)).squeeze(-1)
            h[:, : j + 1, j] += part
            w = w - (part.unsqueeze(1) @ spanned).squeeze(1)
        norm = w.norm(dim=1)
        h[:, j + 1, j] = norm
        basis[:, j + 1] = w / norm.clamp(min=tiny)[:, None]
        used = j + 1
        if used % 5 == 0 or used == space:
            y, left = _least_squares(h[:, : used + 1, :used], e[:, : used + 1])
            if bool((left <= target).all()):
                break
    return (y.mT @ basis[:, :used]).squeeze(1)


def _least_squares(h: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    """Minimise |e - h y|: y, and the size of what is left. Columns of zeros get zeros."""
    u, s, vh = torch.linalg.svd(h, full_matrices=False)
    small = s <= torch.finfo(s.dtype).eps * s.amax(-1, keepdim=True)
    inverse = torch.where(small, 0.0, 1 / torch.where(small, 1.0, s))
    y = vh.mT @ (inverse.unsqueeze(-1) * (u.mT @ e))
    return y, (e - h @ y).squeeze(-1).norm(dim=1)
