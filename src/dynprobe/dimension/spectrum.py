"""Linear dimension measures: functions of a spectrum of variances."""

from __future__ import annotations

import torch
from torch import Tensor


def participation_ratio(variances: Tensor) -> float:
    """PR = (sum v)^2 / sum v^2: the number of directions, weighted by how much they are used.

    Parameters
    ----------
    variances : Tensor
        (n,), the variances along the principal components; their order does not matter.

    Returns
    -------
    float
        Between 1 and n; NaN where there is no variance at all.

    Notes
    -----
    Gao et al. 2017; used for attractor dimension in Aitken et al. 2020, arXiv 2010.15114.
    """
    v = variances.to(torch.float64)
    return float(v.sum() ** 2 / v.square().sum())


def components_for(variances: Tensor, share: float) -> int:
    """Smallest number of principal components that hold at least `share` of the variance.

    Parameters
    ----------
    variances : Tensor
        (n,), largest first.
    share : float
        Between 0 and 1.
    """
    v = variances.to(torch.float64)
    held = v.cumsum(0) / v.sum()
    # rounding must not cost a component: 0.95 of exact 0.95 counts as reached
    return int((held < share - 1e-12).sum()) + 1
