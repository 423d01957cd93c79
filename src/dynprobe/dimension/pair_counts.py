"""How many points lie within a radius of each point, whatever the density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynprobe.dimension.distances import Products, exact_distances
from dynprobe.dimension.neighbors import NeighborGraph

#: share of a block's pairs that may be too near the radius to tell in float32
TELLABLE = 1e-3


def counts_within(graph: NeighborGraph, radii: Sequence[float]) -> Tensor:
    """Number of other distinct points nearer than each of `radii`: (radii, distinct), exact.

    Where the graph reaches beyond the radii it is read off the graph; the other points, in dense
    places, are compared with all by products, and pairs that their rounding leaves open by
    differences.
    """
    counts = torch.stack([(graph.distances < r).sum(1) for r in radii])
    left = (graph.distances[:, -1] < max(radii)).nonzero()[:, 0]
    points = graph.distinct
    for dtype in (torch.float32, torch.float64):
        if len(left) == 0:
            break
        products = Products.of(points, dtype)
        widest = float(products.norms[: products.count].max())
        missed = [left[:0]]
        for rows in left.split(products.rows):
            block = products.lower(rows)
            found = block is not None and [
                _count(points, products, rows, block, r, widest) for r in radii
            ]
            if found and all(c is not None for c in found):
                counts[:, rows] = torch.stack([c for c in found if c is not None])
            else:
                missed.append(rows)
        left = torch.cat(missed)
    return counts


def _count(
    points: Tensor, products: Products, rows: Tensor, lower: Tensor, radius: float, widest: float
) -> Tensor | None:
    """Counts of `rows`; None where float32 leaves too many pairs open."""
    norms = products.norms[rows, None]
    limit = (radius / products.scale) ** 2 - norms
    # `lower` is below the square by at most twice the margin; twice that, for these sums' rounding
    sure = lower < limit - 4 * products.margin * (norms + widest)
    below = lower < limit
    counts = sure.sum(1)
    left_open = int(below.sum()) - int(counts.sum())
    if left_open == 0:
        return counts
    if lower.dtype is torch.float32 and left_open > TELLABLE * lower.numel():
        return None
    row, column = (below ^ sure).nonzero().unbind(1)
    distances = exact_distances(points, rows[row], column[:, None])[:, 0]
    return counts + torch.bincount(row[distances < radius], minlength=len(rows))
