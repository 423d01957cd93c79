"""Squared distances of many pairs by matrix products, with bounds, and few distances exactly.

|x - y|^2 = |x|^2 + |y|^2 - 2 x.y is as fast as a matrix product and loses small distances to
cancellation: its error is relative to |x|^2 + |y|^2. So products only say which pairs are worth a
look, with a bound that holds for their rounding; what is kept is computed from differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: columns of a product are folded this many times before the smallest are looked for
FOLDS = 16
#: bytes of one block of products
BLOCK = 16_000_000
#: bytes of one block of differences, which is passed over three times: about a cache
CACHED = 4_000_000


@dataclass(frozen=True)
class Products:
    """Points prepared for products in one dtype: centred, scaled to norms of at most about 1.

    Attributes
    ----------
    x : Tensor
        (padded, features); rows of zeros fill the last fold.
    norms : Tensor
        (padded,), |x|^2 less than its share of the error bound; Inf for the padding.
    scale : float
        What the points were divided by.
    margin, slack : float
        The error of a squared distance is at most margin (|x|^2 + |y|^2) + 2 slack.
    count : int
        The number of points without padding.
    """

    x: Tensor
    norms: Tensor
    scale: float
    margin: float
    slack: float
    count: int

    @classmethod
    def of(cls, points: Tensor, dtype: torch.dtype) -> Products:
        """Prepare float64 `points`, (points, features)."""
        # the median, not the mean: one point far out must not move the others from the origin
        # on the CPU, because CUDA's is refused where deterministic algorithms are asked for
        centred = points - points.cpu().median(0).values.to(points.device)
        scale = float(centred.norm(dim=1).max()) or 1.0
        x = centred / scale
        fill = -len(x) % FOLDS
        # products of d terms, inputs and norms rounded, three sums (after Higham 2002)
        margin = (points.shape[1] + 8) * torch.finfo(dtype).eps / 2
        slack = 2 * points.shape[1] * torch.finfo(dtype).tiny  # products that underflow
        norms = x.square().sum(1) * (1 - margin) - slack
        return cls(
            x=torch.nn.functional.pad(x, (0, 0, 0, fill)).to(dtype),
            norms=torch.nn.functional.pad(norms, (0, fill), value=torch.inf).to(dtype),
            scale=scale,
            margin=margin,
            slack=slack,
            count=len(points),
        )

    @property
    def rows(self) -> int:
        """How many rows of products fit a block."""
        return max(1, BLOCK // (len(self.x) * self.x.element_size()))

    def lower(self, rows: Tensor) -> Tensor | None:
        """Lower bounds of |x_i - x_j|^2 - |x_i|^2 (1 - margin) for i in `rows`: (rows, padded).

        Inf for a point itself. None where the products are less precise than their dtype, as
        TF32 or bfloat16 make them: seen from the distance of each point to itself.
        """
        block = torch.addmm(self.norms, self.x[rows], self.x.T, alpha=-2)
        own = torch.arange(len(rows), device=rows.device)
        norms = self.norms[rows]
        zeros = block[own, rows] + norms
        if bool((zeros.abs() > 4 * (self.margin * norms + self.slack)).any()):
            return None
        block[own, rows] = torch.inf
        return block


def exact_distances(points: Tensor, rows: Tensor, others: Tensor) -> Tensor:
    """|x_i - x_j| from differences: `rows` (m,), `others` (m, q) -> (m, q), in bounded memory."""
    out = points.new_empty(others.shape)
    step = max(1, CACHED // (points.element_size() * points.shape[1] * max(others.shape[1], 1)))
    for i in range(0, len(rows), step):
        part = others[i : i + step]
        difference = points.index_select(0, part.flatten()).view(*part.shape, -1)
        difference -= points[rows[i : i + step], None]
        out[i : i + step] = torch.linalg.vector_norm(difference, dim=-1)
    return out
