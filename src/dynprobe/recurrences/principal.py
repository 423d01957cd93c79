"""Principal components of states that are known by their factors only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.recurrences.factors import Factors
from dynprobe.recurrences.precision import full_precision


@dataclass(frozen=True)
class PCA:
    """Leading principal components of a set of states.

    Attributes
    ----------
    mean : Tensor
        (state_dim,).
    components : Tensor
        (k, state_dim), orthonormal rows, largest variance first.
    variance : Tensor
        (k,), variance along each (divided by the number of states - 1).
    total_variance : float
        Of all components.
    scores : Tensor
        (sequences, time, k), coordinates of every state; zero after the end of a sequence.
    """

    mean: Tensor
    components: Tensor
    variance: Tensor
    total_variance: float
    scores: Tensor


@full_precision
def principal_components(states: Tensor | Factors, mask: Tensor, k: int, *, seed: int = 0) -> PCA:
    """Randomised subspace iteration (Halko et al. 2011, algorithm 4.4), states as an operator.

    Parameters
    ----------
    states : Tensor or Factors
        (sequences, time, state_dim), formed or not.
    mask : Tensor
        (sequences, time), which of them count.
    k : int
        How many components.
    seed : int
        Of the random start.

    Notes
    -----
    Products with the (tokens, state_dim) matrix of states and with its transpose are all it
    needs; factors give both without forming it. Four iterations on k + 10 vectors: relative
    errors of the leading variances are near rounding unless the spectrum is flat.
    """
    matrix = _Formed(states, mask) if isinstance(states, Tensor) else _Factored(states, mask)
    generator = torch.Generator().manual_seed(seed)
    many = min(k + 10, matrix.rows, matrix.width)
    k = min(k, many)
    q = torch.randn(matrix.width, many, generator=generator).to(matrix.mean)
    q = torch.linalg.qr(q).Q
    for _ in range(4):
        y = torch.linalg.qr(matrix.times(q)).Q
        q = torch.linalg.qr(matrix.transposed(y)).Q
    y = matrix.times(q)
    _, singular, vh = torch.linalg.svd(y, full_matrices=False)
    return PCA(
        matrix.mean,
        vh[:k] @ q.T,
        singular[:k] ** 2 / max(matrix.rows - 1, 1),
        matrix.total_variance,
        (y @ vh[:k].T).reshape(*mask.shape, k),
    )


class _Centred:
    """Centred states as a matrix (sequences * time, width), zero rows where a step is invalid."""

    def __init__(self, mask: Tensor, width: int) -> None:
        self.mask = mask
        self.width = width
        self.rows = int(mask.sum())
        count = max(self.rows, 1)
        self.mean = self._back(mask.float().unsqueeze(-1))[0] / count
        self.total_variance = self._spread() / max(self.rows - 1, 1)

    def _forth(self, x: Tensor) -> Tensor:
        """States times (width, n): (sequences, time, n)."""
        raise NotImplementedError

    def _back(self, w: Tensor) -> Tensor:
        """Sum of states weighted by (sequences, time, n): (n, width)."""
        raise NotImplementedError

    def _spread(self) -> float:
        """Sum of squared distances of all valid states from their mean, in float64."""
        raise NotImplementedError

    def times(self, x: Tensor) -> Tensor:
        """(width, n) -> (sequences * time, n)."""
        return ((self._forth(x) - self.mean @ x) * self.mask[..., None]).flatten(0, 1)

    def transposed(self, y: Tensor) -> Tensor:
        """(sequences * time, n) -> (width, n)."""
        w = y.reshape(*self.mask.shape, -1) * self.mask[..., None]
        return (self._back(w) - w.sum((0, 1))[:, None] * self.mean).T


class _Formed(_Centred):
    def __init__(self, states: Tensor, mask: Tensor) -> None:
        self._states = states.masked_fill(~mask[..., None], 0)
        super().__init__(mask, states.shape[-1])

    def _forth(self, x: Tensor) -> Tensor:
        return self._states @ x

    def _back(self, w: Tensor) -> Tensor:
        return torch.einsum("btd,btn->nd", self._states, w.to(self._states))

    def _spread(self) -> float:
        return _squares(self._states - self.mean, self.mask)


class _Factored(_Centred):
    def __init__(self, factors: Factors, mask: Tensor) -> None:
        self._factors = factors
        super().__init__(mask, factors.form.layout.size)

    def _forth(self, x: Tensor) -> Tensor:
        return self._factors.project_flat(x.T)

    def _back(self, w: Tensor) -> Tensor:
        factors = self._factors
        extra = None
        if factors.maximum is not None:
            extra = torch.einsum("bth,btn->nh", factors.maximum, w.to(factors.maximum))
        return factors.form.flat(factors.adjoint(w.to(factors.start)), extra)

    def _spread(self) -> float:
        factors, total = self._factors, 0.0
        for begin, block in factors.blocks():
            at = slice(begin, begin + block.shape[1])
            maximum = None if factors.maximum is None else factors.maximum[:, at]
            total += _squares(factors.form.flat(block, maximum) - self.mean, self.mask[:, at])
        return total


def _squares(x: Tensor, mask: Tensor) -> float:
    # row by row in the dtype of the states, then in float64: no second copy of them
    return float((x.square().sum(-1).double() * mask).sum())
