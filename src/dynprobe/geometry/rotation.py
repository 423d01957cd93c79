"""Turning one set of points onto another."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.errors import ShapeError


def turned_onto(x: Tensor, y: Tensor) -> Tensor:
    """The orthogonal matrix Q with the least |x - y Q|_F, (m, m).

    Rotation, or rotation and reflection; what is best is min over both (Schönemann 1966).

    Parameters
    ----------
    x, y : Tensor
        (points, m) both, row i of one belonging to row i of the other, centred by the caller.

    Raises
    ------
    ShapeError
        If the shapes differ.
    """
    if x.shape != y.shape or x.dim() != 2:
        raise ShapeError(
            f"The points have shapes {tuple(x.shape)} and {tuple(y.shape)}; needed are two of the "
            "same shape, (points, m)."
        )
    u, _, vh = torch.linalg.svd(y.to(torch.float64).T @ x.to(torch.float64))
    q: Tensor = u @ vh
    return q
