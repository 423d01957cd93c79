"""First guesses of an orthogonal C with A ~ C B C^T.

Of a conjugate pair, every symmetric matrix made of A in the same way as of B has eigenvectors that
C takes into each other, up to signs. The signs follow from A and B themselves: in these bases the
two agree but for a factor s_i s_j of entry ij.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dynprobe.dynamics.conjugacy_bounds import match


def structured_starts(a: Tensor, b: Tensor) -> list[Tensor]:
    """Guesses that the matrices give, (n, n) orthogonal each.

    Swapping a and b transposes them, a change of coordinates of one turns them with it.
    """
    bases = [[torch.linalg.eigh(m)[1] for m in _symmetric(x)] for x in (a, b)]
    guesses = [_signed(a, b, u, v) for u, v in zip(*bases, strict=True)]
    return [*guesses, _matched(a, b), torch.eye(len(a), dtype=a.dtype)]


def random_starts(a: Tensor, b: Tensor, count: int, seed: int) -> Iterator[Tensor]:
    """Uniform orthogonal matrices R, each followed by its transpose, between frames of a and b.

    The frames turn with the matrices, so a change of coordinates changes no result; and swapping
    a and b only swaps the two of a pair.
    """
    u, v = _frame(a), _frame(b)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        q, r = torch.linalg.qr(torch.randn(a.shape, generator=generator, dtype=a.dtype))
        q = q * r.diagonal().sign()
        yield u @ q @ v.T
        yield u @ q.T @ v.T


def _frame(x: Tensor) -> Tensor:
    """Eigenvectors of the symmetric part, with signs that x itself fixes (all at once, +-)."""
    u = torch.linalg.eigh((x + x.T) / 2)[1]
    frame: Tensor = u * _signs(u.T @ x @ x.T @ u)
    return frame


def _symmetric(x: Tensor) -> list[Tensor]:
    """Symmetric matrices that turn with x.

    The first alone has equal eigenvalues where x has conjugate pairs of one real part; the last
    mixes in the square of the antisymmetric part, which tells their frequencies apart.
    """
    even, odd = (x + x.T) / 2, (x - x.T) / 2
    return [even, x.T @ x, x @ x.T, even + 0.61803 * odd @ odd]


def _signed(a: Tensor, b: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """U S V^T with signs S that bring U^T A U and S V^T B V S together."""
    agreement = (u.T @ a @ u) * (v.T @ b @ v)
    return (u * _signs(agreement + agreement.T)) @ v.T


def _signs(agreement: Tensor) -> Tensor:
    """Signs s with a large s^T agreement s: exact where agreement is s s^T times what is >= 0.

    One after the other, always the one that those before it say most about; so what falls apart
    into groups, in which signs do not depend on other groups, is treated group by group.
    """
    weight = agreement.clone().fill_diagonal_(0)  # signs cancel on the diagonal
    signs = torch.zeros_like(weight[0])
    opinion = torch.zeros_like(signs)
    at = int(weight.abs().sum(1).argmax())
    for _ in range(len(signs)):
        signs[at] = 1.0 if opinion[at] >= 0 else -1.0
        opinion += signs[at] * weight[at]
        at = int(torch.where(signs == 0, opinion.abs(), -1.0).argmax())
    return signs


def _matched(a: Tensor, b: Tensor) -> Tensor:
    """Eigenvectors paired by the nearest eigenvalues: of normal matrices, the best there is."""
    (la, ra), (lb, rb) = torch.linalg.eig(a), torch.linalg.eig(b)
    rows, columns, _ = match(la, lb)
    return polar((ra[:, rows] @ rb[:, columns].mH).real)


def polar(m: Tensor) -> Tensor:
    """The orthogonal matrix nearest to m."""
    u, _, vh = torch.linalg.svd(m)
    out: Tensor = u @ vh
    return out
