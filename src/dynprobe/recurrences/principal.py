"""Principal components of states, which need not be formed for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.errors import ShapeError
from dynprobe.recurrences.precision import full_precision
from dynprobe.recurrences.state_matrix import StateMatrix


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
        Of all components. Zero, as is each, where the states differ by rounding alone.
    scores : Tensor
        (sequences, time, k), coordinates of every state; zero after the end of a sequence.
    """

    mean: Tensor
    components: Tensor
    variance: Tensor
    total_variance: float
    scores: Tensor


#: Vectors beyond those asked for.
BEYOND = 10
#: Rounds end when no variance that was asked for grew by more than this share, or at the last.
SETTLED, ROUNDS = 1e-5, 10


@full_precision
def principal_components(states: StateMatrix, k: int, *, seed: int = 0) -> PCA:
    """Randomised subspace iteration (Halko et al. 2011, algorithm 4.4), states as an operator.

    Parameters
    ----------
    states : StateMatrix
        Formed or not.
    k : int
        How many components; no more are found than there are states or numbers in one.
    seed : int
        Of the random start.

    Raises
    ------
    ShapeError
        If k is not positive.
    NonFiniteStatesError
        If a state holds NaN or Inf.

    Notes
    -----
    Products with the (tokens, state_dim) matrix of states and with its transpose are all it
    needs; factors give both without forming it. On k + 10 vectors, three to six rounds: each
    shrinks the error of variance i by (variance k + 11 / variance i)^2.
    """
    if k < 1:
        raise ShapeError(f"k={k}: give a number of components from 1 on.")
    states.check_finite()
    generator = torch.Generator().manual_seed(seed)
    many = min(k + BEYOND, states.rows, states.width)
    k = min(k, many)
    q = torch.linalg.qr(torch.randn(states.width, many, generator=generator).to(states.weight)).Q
    before = torch.zeros(k).to(q)
    for turn in range(ROUNDS + 1):
        y, r = torch.linalg.qr(states.times(q))
        left, singular, vh = torch.linalg.svd(r)
        found = singular[:k] ** 2
        if turn == ROUNDS or bool((found - before <= SETTLED * found).all()):
            break
        before = found
        q = torch.linalg.qr(states.transposed(y)).Q
    if states.scatter == 0:  # what was found is rounding
        singular, found = torch.zeros_like(singular), torch.zeros_like(found)
    freedom = max(states.rows - 1, 1)
    return PCA(
        states.mean.to(q),
        vh[:k] @ q.T,
        found / freedom,
        states.scatter / freedom,
        (y @ (left[:, :k] * singular[:k])).reshape(*states.mask.shape, k),
    )
