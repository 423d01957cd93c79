"""Whether directions lie in a subspace more than they would in a random one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.geometry.subspaces import share_inside

#: Random subspaces drawn for a null.
DRAWS = 1000


@dataclass(frozen=True)
class Alignment:
    """Mean share of some directions inside a subspace, beside its null.

    Attributes
    ----------
    share : float
        Between 0 and 1.
    null_mean, null_std : float
        Of the same directions in random subspaces of the same dimension.
    z : float
        (share - null_mean) / null_std; NaN where every subspace gives the same share, as the
        whole space does.
    percentile : float
        Percentage of the random subspaces with a smaller share; 100 is more than all of them.
    """

    share: float
    null_mean: float
    null_std: float
    z: float
    percentile: float


def alignment(
    vectors: Tensor, basis: Tensor, *, seed: int, share: float | None = None
) -> Alignment:
    """Compare the share of directions inside a subspace with that in random ones.

    Parameters
    ----------
    vectors : Tensor
        (m, n), real.
    basis : Tensor
        (k, n) orthonormal rows; only k counts where `share` is given.
    seed : int
        Of the random subspaces, uniform over all of dimension k.
    share : float, optional
        The share itself, where it is a mean over several subspaces of the dimension of `basis`.
    """
    k, n = basis.shape
    if share is None:
        share = float(share_inside(vectors, basis).mean())
    unit = vectors / vectors.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
    generator = torch.Generator().manual_seed(seed)
    null = torch.empty(DRAWS, dtype=vectors.dtype)
    for i in range(DRAWS):  # one at a time: a wide state leaves no room for all
        draw = torch.randn(n, k, generator=generator, dtype=vectors.dtype)
        q, _ = torch.linalg.qr(draw)
        null[i] = (unit @ q).square().sum(1).mean()
    mean, std = float(null.mean()), float(null.std())
    # a null of rounding alone has no scale
    z = (share - mean) / std if std > 1e-12 else float("nan")
    return Alignment(share, mean, std, z, 100 * float((null < share).to(vectors.dtype).mean()))
