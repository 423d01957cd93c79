"""Jacobians of gates: sums of matrices whose rows are scaled, diag(d_1) W_1 + diag(d_2) W_2 + ...

A batch of Jacobians is large and its arithmetic small, so that memory sets the speed: every term
is added in place, into the block of the result where it belongs. What comes out is detached, as
that of :func:`dynprobe.dynamics.maps.autograd_jacobian` is.
"""

from __future__ import annotations

from torch import Tensor


def add_scaled_rows(out: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """Add diag(d_b) @ W to each matrix b of `out`, term by term; returns `out`.

    Parameters
    ----------
    out : Tensor
        (batch, n, m), changed in place; a view of a larger matrix will do.
    *terms : (Tensor, Tensor)
        d (batch, n) and W (n, m) or (batch, n, m).
    """
    for d, matrix in terms:
        out.addcmul_(d.detach().unsqueeze(-1), matrix.detach())
    return out


def scaled_rows(*terms: tuple[Tensor, Tensor]) -> Tensor:
    """Sum of diag(d_b) @ W over the terms, (batch, n, m), in memory of its own."""
    (d, matrix), *rest = terms
    return add_scaled_rows(d.detach().unsqueeze(-1) * matrix.detach(), *rest)


def add_diagonal(out: Tensor, d: Tensor | float) -> Tensor:
    """Add d, (batch, n) or a number, to the diagonals of (batch, n, n) in place; returns `out`."""
    out.diagonal(dim1=-2, dim2=-1).add_(d.detach() if isinstance(d, Tensor) else d)
    return out
