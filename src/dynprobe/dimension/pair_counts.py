"""How many points lie within a radius of each point, whatever the density."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.dimension.distances import Products, squared_differences
from dynprobe.dimension.neighbors import NeighborGraph

#: share of a block's pairs that may be too near the radius to tell in float32
TELLABLE = 1e-3


def counts_within(graph: NeighborGraph, radius: float) -> Tensor:
    """Number of other distinct points nearer than `radius`, (distinct,), exact.

    Where the graph reaches beyond the radius it is read off the graph; the other points, in dense
    places, are compared with all by products, and pairs that their rounding leaves open by
    differences.
    """
    counts = (graph.distances < radius).sum(1)
    left = (graph.distances[:, -1] < radius).nonzero()[:, 0]
    points = graph.distinct
    for dtype in (torch.float32, torch.float64):
        products = Products.of(points, dtype)
        last = dtype is torch.float64
        missed = [left[:0]]
        for rows in left.split(products.rows):
            found = _count(points, products, rows, radius, last)
            if found is None:
                missed.append(rows)
            else:
                counts[rows] = found
        left = torch.cat(missed)
        if len(left) == 0:
            break
    return counts


def _count(
    points: Tensor, products: Products, rows: Tensor, radius: float, last: bool
) -> Tensor | None:
    """Counts of `rows`; None where too many pairs are left open and another dtype can tell."""
    lower = products.lower(rows)
    if lower is None:
        return None
    norms = products.norms[rows, None]
    limit = (radius / products.scale) ** 2 - norms
    below = lower < limit
    # twice the margin between the lower bound and the upper one
    upper = lower[:, : products.count] + (4 * products.margin) * (
        products.norms[: products.count] + norms
    )
    sure = upper < limit
    open_pairs = (below[:, : products.count] & ~sure).nonzero()
    if not last and len(open_pairs) > TELLABLE * below.numel():
        return None
    squares = squared_differences(points, rows[open_pairs[:, 0]], open_pairs[:, 1:])[:, 0]
    near = open_pairs[squares.sqrt() < radius, 0]
    return sure.sum(1) + torch.bincount(near, minlength=len(rows))
