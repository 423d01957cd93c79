"""When a difference of states is only rounding, and so nothing to divide by."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.dynamics.certificate import ROUNDING_UNITS


def rounding_level(scale: Tensor, *dtypes: torch.dtype) -> Tensor:
    """Size up to which a difference of states may be rounding alone.

    Parameters
    ----------
    scale : Tensor
        Size of the states themselves.
    *dtypes : torch.dtype
        What they were computed and kept in; the coarsest counts.
    """
    return ROUNDING_UNITS * max(torch.finfo(dtype).eps for dtype in dtypes) * scale


def relative(error: Tensor, size: Tensor, level: Tensor) -> Tensor:
    """error / size, and NaN where `size` is not above the :func:`rounding_level`: 0 / 0."""
    return torch.where(size > level, error / size, torch.nan)


def root_mean_square(rows: Tensor) -> Tensor:
    """Of the norms of (m, n) rows, in float64; NaN without rows."""
    return rows.double().square().sum(1).mean().sqrt()
