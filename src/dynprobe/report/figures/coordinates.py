"""Coordinates for states that come without a report's view."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dynprobe.errors import ShapeError

# States (..., n) -> (..., k), and the label of each of the k axes.
Coordinates = tuple[Callable[[Tensor], Tensor], list[str]]


def coordinates(states: Tensor, many: int, directions: Tensor | None) -> Coordinates:
    """Projection onto given directions, or onto the principal components of the states.

    Parameters
    ----------
    states : Tensor
        (points, n).
    many : int
        How many coordinates, at most n are given.
    directions : Tensor or None
        (many, n).
    """
    n = states.shape[1]
    if directions is not None:
        if directions.dim() != 2 or directions.shape[1] != n or not 1 <= len(directions) <= many:
            raise ShapeError(
                f"directions have shape {tuple(directions.shape)}; needed is ({many}, {n})."
            )
        rows = directions.to(states)
        names = [f"state along direction {i + 1}" for i in range(len(rows))]
        return lambda s: s @ rows.T, names
    if n <= many:
        return lambda s: s, (["state"] if n == 1 else [f"state {i + 1}" for i in range(n)])
    mean = states.mean(0)
    _, sizes, vh = torch.linalg.svd(states - mean, full_matrices=False)
    rows = vh[:many]
    share = 100 * sizes.square() / sizes.square().sum().clamp(min=torch.finfo(sizes.dtype).tiny)
    names = [
        f"PC {i + 1} of these states ({float(share[i]):.1f} % of variance)"
        for i in range(len(rows))
    ]
    return lambda s: (s - mean) @ rows.T, names
