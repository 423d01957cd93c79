"""How much one set of directions lies in a subspace, and how much a random one would."""

from __future__ import annotations

import torch
from torch import Tensor


def orthonormal(rows: Tensor) -> Tensor:
    """Orthonormal basis (k, n), as rows, of the span of (m, n) real rows; k <= m is the rank."""
    if rows.numel() == 0:
        return rows.reshape(0, rows.shape[-1])
    _, s, v = torch.linalg.svd(rows, full_matrices=False)
    basis: Tensor = v[s > s.max() * 1e-9]
    return basis


def share_inside(vectors: Tensor, basis: Tensor) -> Tensor:
    """Share of each vector's squared length inside a subspace.

    Parameters
    ----------
    vectors : Tensor
        (m, n), real or complex.
    basis : Tensor
        (k, n) orthonormal rows.

    Returns
    -------
    Tensor
        (m,) between 0 and 1.
    """
    inside = vectors @ basis.to(vectors.dtype).T
    return inside.abs().square().sum(1) / vectors.abs().square().sum(1)


def random_share(n: int, k: int, quantile: float, *, seed: int, draws: int = 10_000) -> float:
    """A quantile of the share that a random direction of R^n has in a k-dimensional subspace.

    The mean of this null is k / n. Drawn, from an explicit seed, rather than taken from the beta
    distribution, so that it needs no further dependency.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(draws, n, generator=generator, dtype=torch.float64).square()
    return float((x[:, :k].sum(1) / x.sum(1)).quantile(quantile))


def random_angle(n: int, quantile: float, *, seed: int, draws: int = 10_000) -> float:
    """A quantile of the angle between two random directions of R^n, degrees; its mean is 90."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(draws, n, generator=generator, dtype=torch.float64)
    cosine = x[:, 0] / x.norm(dim=1)  # one of the two may be taken as an axis
    return float(torch.rad2deg(cosine.arccos()).quantile(quantile))
