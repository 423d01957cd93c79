"""How far two linear systems are from being the same one in other coordinates.

The distance min |A - C B C^T|_F over orthogonal C (Ostrow et al. 2023, arXiv 2306.10168, eq. 5)
sees dynamics, not positions: states of two networks need not correspond, nor be equally many. The
problem has local minima, so the answer is the best found, an upper bound. It stands beside a lower
bound that holds for every C; where the two meet, the answer is certain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dynamics.conjugacy_bounds import lower_bound
from dynprobe.dynamics.conjugacy_search import refine
from dynprobe.dynamics.conjugacy_starts import random_starts, structured_starts
from dynprobe.errors import NonFiniteStatesError, ShapeError

#: Bounds this close, against the norms of the matrices, count as met.
MET = 1e-9


@dataclass(frozen=True)
class ConjugacyDistance:
    """Distance of two matrices up to an orthogonal change of coordinates.

    Attributes
    ----------
    distance : float
        |A - C B C^T|_F at the best C found.
    lower_bound : float
        No C gives less.
    angle : float
        arccos of <A, C B C^T> / (|A| |B|) at the same C, in radians: it does not depend on scale.
        0 where both matrices are zero, pi / 2 where one is.
    rotation : Tensor
        (n, n), C: rotation or reflection, float64.
    certain : bool
        Whether the two bounds meet, so that no C is better. Otherwise `distance` is an upper bound.
    n_starts : int
        From how many first guesses the search went before the bounds met, or in all.
    """

    distance: float
    lower_bound: float
    angle: float
    rotation: Tensor
    certain: bool
    n_starts: int


def conjugacy_distance(
    a: Tensor, b: Tensor, *, starts: int = 4, seed: int = 0
) -> ConjugacyDistance:
    """Minimise |A - C B C^T|_F over orthogonal C, reflections included.

    Parameters
    ----------
    a, b : Tensor
        (n, n) each, real. Of systems of different size fit both to one rank
        (:func:`dynprobe.similarity.dmd`).
    starts : int
        Random first guesses, each with its transpose, beside those that the matrices themselves
        give: eigenvectors of their symmetric parts, of A^T A and A A^T, and matched eigenvalues.
        They are tried only where the bounds have not met before.
    seed : int
        Of the random guesses.

    Returns
    -------
    ConjugacyDistance
        Symmetric in a and b, zero for conjugate ones.

    Raises
    ------
    ShapeError
        If they are not square and of one size.
    NonFiniteStatesError
        For NaN or Inf.

    Examples
    --------
    >>> import torch
    >>> from dynprobe.similarity import conjugacy_distance
    >>> a = torch.tensor([[0.9, 0.3], [0.0, 0.5]])
    >>> conjugacy_distance(a, a.flip(0, 1)).distance < 1e-12  # the two units swapped
    True
    """
    x, y = (_checked(m, name) for m, name in ((a, "The first"), (b, "The second")))
    if x.shape != y.shape:
        raise ShapeError(
            f"The matrices are {len(x)} x {len(x)} and {len(y)} x {len(y)}: systems of different "
            "size have no common coordinates. Fit both to one rank: dmd(trajectories, rank=r)."
        )
    n = len(x)
    size = math.hypot(float(x.norm()), float(y.norm()))
    bound = lower_bound(x, y)
    guesses = structured_starts(x, y)
    guesses = [g for _, g in sorted(((_distance(x, y, g), i), g) for i, g in enumerate(guesses))]
    best, least, tried = torch.eye(n, dtype=torch.float64), math.inf, 0
    for guess in (*guesses, *random_starts(x, y, starts, seed)):
        c = refine(x, y, guess)
        tried += 1
        found = _distance(x, y, c)
        if found < least:
            best, least = c, found
        if least - bound <= MET * size:
            break
    product = float(x.norm() * y.norm())
    # by the half angle of the normalised matrices, which keeps small angles
    angle = 0.0 if size == 0 else math.pi / 2
    if product > 0:
        chord = float((x / x.norm() - best @ (y / y.norm()) @ best.T).norm())
        angle = 2 * math.asin(min(chord / 2, 1.0))
    met = least - bound <= MET * size
    return ConjugacyDistance(least, min(bound, least), angle, best, met, tried)


def _distance(a: Tensor, b: Tensor, c: Tensor) -> float:
    return float((a - c @ b @ c.T).norm())


def _checked(m: Tensor, name: str) -> Tensor:
    if m.dim() != 2 or m.shape[0] != m.shape[1] or len(m) == 0:
        raise ShapeError(f"{name} matrix has shape {tuple(m.shape)}; needed is (n, n).")
    if m.is_complex():
        raise ShapeError(f"{name} matrix is complex; the coordinates of a state are real.")
    x = m.detach().to("cpu", torch.float64)
    if not bool(x.isfinite().all()):
        raise NonFiniteStatesError(f"{name} matrix holds NaN or Inf.")
    return x
