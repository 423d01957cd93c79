"""Modes of Jacobians: paired left and right eigenvectors, how far to trust them, how they act.

J = R diag(lambda) L with L = R^-1: a deviation from the point has the amplitude l_a^T (s - s*) in
mode a, and an input x adds l_a^T B (x - x*) to it (Maheswaranathan et al. 2019, arXiv 1906.10720).
"""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

#: Condition of an eigenvalue from which its mode is not to be trusted. Rounding splits a defective
#: eigenvalue of multiplicity 2 by about 1e-8, which leaves modes of condition 1e7 and more; and at
#: 1e6 an eigenvalue is known to 1e-10 of the Jacobian's norm only.
ILL_CONDITIONED = 1e6
#: Rounding in the magnitude of an eigenvalue of a continuum.
MARGIN = 1e-9


class Stability(IntEnum):
    """What the linearisation does in the long run."""

    STABLE = 0
    MARGINAL = 1
    UNSTABLE = 2


def eigenmodes(jacobian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues by falling magnitude, right modes, left modes.

    Parameters
    ----------
    jacobian : Tensor
        (points, n, n), real, float64.

    Returns
    -------
    values : Tensor
        (points, n), complex; of a conjugate pair the two follow each other.
    right : Tensor
        (points, n, n), columns of unit norm.
    left : Tensor
        (points, n, n), rows, left @ right = I. Where modes coincide exactly, a defective Jacobian,
        no such rows exist and they hold Inf or NaN; see :func:`conditions`.
    """
    values, vectors = torch.linalg.eig(jacobian)
    order = values.abs().argsort(dim=1, descending=True, stable=True)
    right = vectors.gather(2, order[:, None, :].expand_as(vectors))
    return values.gather(1, order), right, _inverse(right)


def _inverse(matrix: Tensor) -> Tensor:
    """Batched inverse by QR.

    Not by LU: batched LU gives wrong numbers or fails on CPU with several threads (seen with torch
    2.13, from 160 rows on). Defective matrices give large entries, not an error.
    """
    q, r = torch.linalg.qr(matrix)
    inverse: Tensor = torch.linalg.solve_triangular(r, q.mH, upper=True)
    return inverse


def conditions(left: Tensor) -> Tensor:
    """Condition of each eigenvalue, |l_a| |r_a| >= 1, from left modes paired with unit right ones.

    A change of J by E moves lambda_a by at most this times |E|, to first order (Wilkinson 1965,
    "The Algebraic Eigenvalue Problem", chapter 2). 1 for every mode of a normal matrix, infinite
    for a defective eigenvalue.

    Parameters
    ----------
    left : Tensor
        (..., n, n), rows.

    Returns
    -------
    Tensor
        (..., n).
    """
    norms: Tensor = left.abs().norm(dim=-1).nan_to_num(nan=torch.inf)
    return norms


def time_constants(eigenvalues: Tensor) -> Tensor:
    """tau = |1 / ln |lambda|| in steps (Maheswaranathan et al. 2019, section 3.3)."""
    return (1 / eigenvalues.abs().log()).abs()


def departure_from_normality(jacobian: Tensor, eigenvalues: Tensor) -> Tensor:
    """Henrici's departure from normality, sqrt(|J|_F^2 - sum |lambda|^2).

    It is the norm of what lies above the diagonal in a Schur form: 0 for a normal matrix, where
    values below 1e-8 |J|_F are rounding. Only above 0 can J amplify a deviation on the way to
    forgetting it. Henrici 1962, Numerische Mathematik 4, 24-40.

    Parameters
    ----------
    jacobian : Tensor
        (..., n, n).
    eigenvalues : Tensor
        (..., n).

    Returns
    -------
    Tensor
        (...,), in the units of J.
    """
    total = jacobian.square().sum((-2, -1))
    return (total - eigenvalues.abs().square().sum(-1)).clamp(min=0).sqrt()


def stability(eigenvalues: Tensor) -> Tensor:
    """:class:`Stability` of (points, n) eigenvalues, (points,): of the largest magnitude."""
    radius = eigenvalues.abs().amax(-1)
    growing, marginal = radius > 1 + MARGIN, radius >= 1 - MARGIN
    out = torch.full_like(growing, int(Stability.STABLE), dtype=torch.int64)
    out[marginal] = int(Stability.MARGINAL)
    out[growing] = int(Stability.UNSTABLE)
    return out


def longest_lasting(eigenvalues: Tensor, k: int) -> Tensor:
    """Indices of the k modes of one point that are forgotten last, in whole conjugate pairs.

    Those of largest magnitude, not of longest tau: what grows is not forgotten at all. Between the
    attractors of an integrator its own modes grow a little, and a fading mode may have a longer
    tau.

    Parameters
    ----------
    eigenvalues : Tensor
        (n,), complex.
    k : int
        Where it would cut a conjugate pair, the partner is taken too.
    """
    order = eigenvalues.abs().argsort(descending=True, stable=True)
    taken = eigenvalues[order[:k]]
    lone = (taken.conj() - taken[-1]).abs().min() > 1e-9 * taken[-1].abs()
    if not bool(lone):
        return order[:k]
    rest = order[k:]
    partner = (eigenvalues[rest] - taken[-1].conj()).abs().argmin()
    return torch.cat([order[:k], rest[partner : partner + 1]])


def real_rows(vectors: Tensor) -> Tensor:
    """Real and imaginary parts of complex rows (k, n), one after the other, those that are not 0.

    Conjugate rows give the same two parts, so that the rows are in general dependent.
    """
    parts = torch.stack([vectors.real, vectors.imag], dim=1).flatten(0, 1)
    norms = parts.norm(dim=1)
    return parts[norms > 1e-12 * norms.max()]
