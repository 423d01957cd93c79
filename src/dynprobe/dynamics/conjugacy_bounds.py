"""What no orthogonal change of coordinates can undercut."""

from __future__ import annotations

import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

#: |A A^T - A^T A|_F over |A|_F^2 below which a matrix counts as normal.
NORMAL = 1e-12


def lower_bound(a: Tensor, b: Tensor) -> float:
    """A number that |A - C B C^T|_F reaches or exceeds for every orthogonal C.

    The largest of three bounds, which is the distance itself for symmetric and for conjugate
    matrices, and for normal ones wherever the best matching of eigenvalues takes conjugate pairs
    to conjugate pairs:

    * Symmetric and antisymmetric parts stay what they are under C and are orthogonal to each
      other; the sorted eigenvalues of each bound its share of the distance.
    * Sorted singular values (Mirsky 1960).
    * Of two normal matrices, the cheapest matching of eigenvalues (Hoffman & Wielandt 1953).
    """
    parts = 0.0
    for sign in (1, -1):
        # i times an antisymmetric matrix is Hermitian
        factor = 0.5 if sign == 1 else 0.5j
        x, y = (torch.linalg.eigvalsh(factor * (m + sign * m.T)) for m in (a, b))
        parts += float((x - y).square().sum())
    mirsky = float((torch.linalg.svdvals(a) - torch.linalg.svdvals(b)).norm())
    bound = max(math.sqrt(parts), mirsky)
    if _is_normal(a) and _is_normal(b):
        bound = max(bound, match(torch.linalg.eigvals(a), torch.linalg.eigvals(b))[2])
    return bound


def match(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, float]:
    """Pair (n,) complex numbers with the least sum of squared distances.

    Returns
    -------
    rows, columns, distance
        a[rows[i]] goes with b[columns[i]]; the root of the sum.
    """
    cost = (a[:, None] - b[None]).abs().square()
    rows, columns = (torch.as_tensor(i) for i in linear_sum_assignment(cost.numpy()))
    return rows, columns, math.sqrt(float(cost[rows, columns].sum()))


def _is_normal(m: Tensor) -> bool:
    return float((m @ m.T - m.T @ m).norm()) <= NORMAL * float(m.norm()) ** 2
