"""Points of which none is near an earlier one."""

from __future__ import annotations

import torch
from torch import Tensor

#: Rows whose distances are looked at together.
_ROWS = 500


def thinned(points: Tensor, apart: float) -> Tensor:
    """Those points that are farther than `apart` from every earlier one, kept or not.

    Of a crowd the first stays; a chain of near points leaves its first alone, since the ones that
    are dropped drop others. The reference thins out points so (``keep_unique_fixed_points``).

    Parameters
    ----------
    points : Tensor
        (points, features).
    apart : float
        Euclidean distance.

    Returns
    -------
    Tensor
        (kept, features), in the order of `points`.
    """
    kept = torch.ones(len(points), dtype=torch.bool)
    for start in range(0, len(points), _ROWS):
        block = points[start : start + _ROWS]
        near = torch.cdist(block, points[: start + len(block)]) <= apart
        kept[start : start + len(block)] = ~near.tril(start - 1).any(1)
    return points[kept]
