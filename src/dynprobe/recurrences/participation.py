"""The participation ratio of states, which need not be formed for it."""

from __future__ import annotations

from dataclasses import replace

import torch

from dynprobe.recurrences.gram import blocks, has_closed_form
from dynprobe.recurrences.precision import full_precision
from dynprobe.recurrences.principal import PCA, principal_components
from dynprobe.recurrences.state_matrix import StateMatrix

#: States up to which the exact way is taken where its cost grows with their square.
EXACT = 4096
#: Width up to which a covariance matrix is held.
NARROW = 4096
#: Components that an estimate takes exactly, and random probes for all the others.
LEADING, PROBES = 16, 64


@full_precision
def participation_ratio(states: StateMatrix, *, exact: bool | None = None, seed: int = 0) -> float:
    """(tr C)^2 / |C|^2 of the covariance C of states, the measure of `dynprobe.dimension`.

    Parameters
    ----------
    states : StateMatrix
        Formed or not.
    exact : bool, optional
        By default up to 4,096 states, and wherever C itself is small enough to be summed up.
    seed : int
        Of the estimate.

    Returns
    -------
    float
        NaN where there is no variance at all, or none but rounding.

    Raises
    ------
    NonFiniteStatesError
        If a state holds NaN or Inf.

    Notes
    -----
    |C|^2 is that of the centred Gram matrix, which is summed block by block in float64: time
    grows with the square of the number of states, memory does not. The estimate takes the 16
    leading components as they are and Hutchinson's |C g|^2 for what they leave; that part of
    |C|^2 is mostly small, so that its error, about a tenth of it, is too.
    """
    states.check_finite()
    if states.scatter == 0:
        return float("nan")
    narrow = states.width <= min(states.rows, NARROW)
    closed = has_closed_form(states.states)
    if exact is None:
        exact = states.rows <= EXACT or (narrow and not closed)
    if not exact:
        return estimate(states, principal_components(states, LEADING, seed=seed), seed=seed)
    if closed:
        squares = _from_gram(states)
    elif narrow:
        squares = _from_covariance(states)
    else:
        squares = _from_centred_blocks(states)
    return _ratio(states, squares)


@full_precision
def estimate(states: StateMatrix, leading: PCA, *, seed: int = 0) -> float:
    """Participation ratio from the leading components, and random probes of the others."""
    if states.scatter == 0:
        return float("nan")
    freedom = max(states.rows - 1, 1)
    known = float((leading.variance.double() * freedom).square().sum())
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(states.width, PROBES, generator=generator).to(states.weight)
    q = leading.components
    x = x - q.T @ (q @ x)
    y = states.transposed(states.times(x))
    y = y - q.T @ (q @ y)
    return _ratio(states, known + float(y.double().square().sum()) / PROBES)


def _ratio(states: StateMatrix, squares: float) -> float:
    # |C|^2 is at most (tr C)^2; beyond is rounding of a variance that is small beside the mean
    return max(states.scatter**2 / squares, 1.0)


def _from_gram(states: StateMatrix) -> float:
    """Sum of squares of the centred Gram matrix, of factors with one decay a head."""
    assert has_closed_form(states.states)
    exact = replace(states.states, factors=states.states.factors.to(torch.float64))
    mean, weight, mask = states.mean, states.weight.double(), states.mask
    shift = exact.project(mean[None])[..., 0] * weight - mean.square().sum() / 2
    total = 0.0
    for b in blocks(exact):
        rows, columns = (b.sequences, b.rows, None, None), (slice(None), b.columns)
        centred = b.products * (weight[rows] * weight[columns]) - shift[rows] - shift[columns]
        total += float(centred[(mask[rows] & mask[columns])].square().sum())
    return total


def _from_covariance(states: StateMatrix) -> float:
    out = torch.zeros(states.width, states.width, dtype=torch.float64, device=states.mask.device)
    for _, block in states.centred_blocks():
        x = block.flatten(0, 1)
        out.addmm_(x.T, x)
    return float(out.square().sum())


def _from_centred_blocks(states: StateMatrix) -> float:
    """Sum of squares of the centred Gram matrix, some formed rows of it at a time."""
    total = 0.0
    for _, block in states.centred_blocks():
        products = states.times(block.flatten(0, 1).T.to(states.weight))
        total += float(products.double().square().sum())
    return total
