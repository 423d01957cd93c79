"""The k nearest neighbours of every point: found by products, decided by differences."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.dimension.distances import BLOCK, FOLDS, Products, exact_distances

#: candidates beyond k, among which exact distances decide
SPARE = 8
#: squared distances this near, relative to themselves, are ties: which one is taken is left open
TIE = 1e-10


def nearest(points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Distances to and indices of the k nearest other points, nearest first.

    Parameters
    ----------
    points : Tensor
        (n, features), float64.
    k : int
        From 1 to n - 1.

    Returns
    -------
    distances, indices : Tensor
        (n, k) each, float64 and int64. Distances are those of differences in float64; that no
        nearer point was missed is certified for each row, by the error bound of the products.
        Rows that float32 cannot certify are searched in float64, and the rest from differences.
    """
    distances = points.new_empty(len(points), k)
    indices = torch.empty(len(points), k, dtype=torch.int64, device=points.device)
    left = torch.arange(len(points), device=points.device)
    for dtype in (torch.float32, torch.float64):
        products = Products.of(points, dtype)
        tie = TIE if dtype is torch.float64 else 0.0
        missed = []
        for rows in left.split(products.rows):
            distances[rows], indices[rows], sure = _by_products(points, products, rows, k, tie)
            missed.append(rows[~sure])
        left = torch.cat(missed)
        if len(left) == 0:
            return distances, indices
    everyone = torch.arange(len(points), device=points.device)
    for rows in left.split(max(1, BLOCK // (8 * len(points)))):
        every = exact_distances(points, rows, everyone.expand(len(rows), -1))
        every[torch.arange(len(rows), device=rows.device), rows] = torch.inf
        distances[rows], indices[rows] = every.topk(k, largest=False)
    return distances, indices


def _by_products(
    points: Tensor, products: Products, rows: Tensor, k: int, tie: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances and indices, (rows, k), and which rows are certified, (rows,)."""
    lower = products.lower(rows)
    if lower is None:
        empty = points.new_zeros(len(rows), k)
        return empty, empty.long(), torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    spare = min(k + SPARE, products.count - 1)
    bounds, candidates = _smallest(lower, spare)
    distances, order = exact_distances(points, rows, candidates).sort(dim=1)
    # every point that is no candidate is at least this far
    beyond = (bounds.amax(1) + products.norms[rows]).double() * products.scale**2
    sure = (beyond >= distances[:, k - 1].square() * (1 - tie)) | (spare == products.count - 1)
    return distances[:, :k], candidates.gather(1, order[:, :k]), sure


def _smallest(block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of each row and their columns, in no order.

    The k smallest lie in the k folds with the smallest minima: looking at those alone spares most
    of the selection, which would cost more than the product.
    """
    width = block.shape[1] // FOLDS
    folded = block.view(len(block), FOLDS, width)
    if width <= k:
        return block.topk(k, largest=False)
    folds = folded.amin(1).topk(k, largest=False, sorted=False).indices
    inside = folded.gather(2, folds[:, None].expand(-1, FOLDS, -1)).flatten(1)
    values, place = inside.topk(k, largest=False, sorted=False)
    return values, place // k * width + folds.gather(1, place % k)
