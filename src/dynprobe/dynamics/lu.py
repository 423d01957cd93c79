"""LU factorisations of many matrices, and the singular directions they make cheap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# From this size on matrices are factored one by one on a CPU. There a batched factorisation gains
# nothing, and with several threads it was seen to return wrong pivots (torch 2.13, 160 rows on).
ONE_BY_ONE = 128


@dataclass(frozen=True)
class LU:
    """P L U of a batch of square matrices; singular ones are solved as their nearest neighbours.

    Attributes
    ----------
    factors : Tensor
        (batch, n, n), L and U in one.
    pivots : Tensor
        (batch, n).
    """

    factors: Tensor
    pivots: Tensor

    #: (batch,), smallest by largest pivot: rounding where a matrix is singular.
    pivot_ratio: Tensor

    @classmethod
    def of(cls, matrices: Tensor) -> LU:
        """Factor (batch, n, n). A zero pivot is replaced by rounding, so that solving works."""
        if matrices.is_cuda or matrices.shape[-1] < ONE_BY_ONE:
            factors, pivots, _ = torch.linalg.lu_factor_ex(matrices)
        else:
            # column by column, as LAPACK wants it: otherwise each solution would copy it
            factors = torch.empty_like(matrices, memory_format=torch.contiguous_format).mT
            pivots = torch.empty(matrices.shape[:-1], dtype=torch.int32, device=matrices.device)
            info = pivots.new_empty(())
            for i, matrix in enumerate(matrices):
                torch.linalg.lu_factor_ex(matrix, out=(factors[i], pivots[i], info))
        diagonal = factors.diagonal(dim1=-2, dim2=-1)
        size = diagonal.abs()
        largest = size.amax(-1, keepdim=True)
        least = torch.where(largest > 0, torch.finfo(factors.dtype).eps * largest, 1.0)
        diagonal.copy_(torch.where(size < least, least, diagonal))
        ratio = (size.amin(-1) / largest.squeeze(-1)).nan_to_num(0.0)  # of zeros only: singular
        return cls(factors, pivots, ratio)

    def take(self, rows: Tensor) -> LU:
        """Some of the matrices."""
        if len(rows) == len(self.factors):
            return self
        return LU(self.factors.mT[rows].mT, self.pivots[rows], self.pivot_ratio[rows])

    def determinant_sign(self) -> Tensor:
        """(batch,), -1 or 1."""
        rows = torch.arange(1, self.pivots.shape[-1] + 1, device=self.pivots.device)
        swaps = (self.pivots != rows).sum(-1)
        negative = (self.factors.diagonal(dim1=-2, dim2=-1) < 0).sum(-1)
        return 1 - 2 * ((swaps + negative) % 2)

    def solve(self, b: Tensor, *, transposed: bool = False) -> Tensor:
        """A^-1 b, or A^-T b: b (batch, n, k) -> (batch, n, k)."""
        x: Tensor = torch.linalg.lu_solve(self.factors, self.pivots, b, adjoint=transposed)
        return x


def least_singular(
    matrices: Tensor, lu: LU, many: int, *, start: Tensor | None = None, sweeps: int = 3
) -> tuple[Tensor, Tensor, Tensor]:
    """The least singular values and their vectors, by inverse iteration on a block.

    Parameters
    ----------
    matrices : Tensor
        (batch, n, n).
    lu : LU
        Of these.
    many : int
        How many, at most n.
    start : Tensor, optional
        (batch, n, many), where the right vectors are expected.
    sweeps : int
        Of the block through the inverse and its transpose.

    Returns
    -------
    left, values, right : Tensor
        (batch, n, many), (batch, many) largest first, (batch, n, many). Values are Ritz values:
        never below the true ones, exact where a gap separates them from those outside.
    """
    if start is None:
        generator = torch.Generator().manual_seed(0)
        block = torch.randn(matrices.shape[-1], many, generator=generator, dtype=torch.float64)
        start = block.to(matrices).expand(len(matrices), -1, -1)
    right = start
    for _ in range(sweeps):
        left = torch.linalg.qr(lu.solve(right, transposed=True)).Q
        right = torch.linalg.qr(lu.solve(left)).Q
    u, values, vh = torch.linalg.svd(left.mT @ (matrices @ right))
    return left @ u, values, right @ vh.mT
