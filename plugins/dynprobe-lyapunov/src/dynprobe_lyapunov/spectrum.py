"""The Lyapunov spectrum of a map along trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import dynprobe
from dynprobe.errors import NonFiniteStatesError, ShapeError


@dataclass(frozen=True)
class Spectrum:
    """The largest exponents, per step, natural logarithm.

    Attributes
    ----------
    exponents : Tensor
        (k,), largest first; -inf along directions that the map forgets in finite time.
    standard_error : Tensor
        (k,), of the mean over trajectories; NaN with one.
    finite_time : Tensor
        (trajectories, k), of each trajectory.
    running : Tensor
        (steps, k), what the mean would have been after so many counted steps.
    n_steps : int
        Steps counted, over all trajectories.
    """

    exponents: Tensor
    standard_error: Tensor
    finite_time: Tensor
    running: Tensor
    n_steps: int


def lyapunov_spectrum(
    recurrence: dynprobe.Recurrence,
    state: Tensor,
    inputs: Tensor,
    k: int,
    *,
    lengths: Tensor | None = None,
    transient: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Spectrum:
    """Follow k tangent vectors, made orthonormal again at each step.

    Parameters
    ----------
    recurrence : dynprobe.Recurrence
        The map; of its Jacobian only products with k vectors are used.
    state : Tensor
        (trajectories, n), the state before the first input.
    inputs : Tensor
        (trajectories, time, input_dim).
    k : int
        How many exponents, at most n.
    lengths : Tensor, optional
        (trajectories,), valid inputs of each.
    transient : int
        First steps that do not count: state and vectors find their way meanwhile.
    seed : int
        Of the first vectors.
    progress : callable
        ``progress(done, total)``.

    Raises
    ------
    ShapeError
        If k does not fit, or no trajectory is longer than the transient.
    NonFiniteStatesError
        If a trajectory or a vector leaves the numbers.

    Notes
    -----
    Benettin et al. 1980, Meccanica 15, 9: the mean logarithm of the diagonal of R in J Q = Q' R.
    In float64, whatever the dtype of the model.
    """
    n = recurrence.state_dim
    if not 1 <= k <= n:
        raise ShapeError(f"k is {k}; a state of {n} numbers has 1 to {n} exponents.")
    count, time = inputs.shape[:2]
    valid = torch.full((count,), time) if lengths is None else lengths.cpu()
    kept = (valid > transient).nonzero().flatten()
    if len(kept) == 0:
        longest = int(valid.max()) if count else 0
        raise ShapeError(
            f"The longest of {count} trajectories has {longest} steps, and the first {transient} "
            "do not count: give longer ones, or a shorter transient."
        )
    valid = valid[kept]
    s, x = (v.detach().to(recurrence.device, torch.float64)[kept] for v in (state, inputs))
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(len(kept), n, k, generator=generator, dtype=torch.float64))[0]
    q = q.to(s.device)
    total = torch.zeros(len(kept), k, dtype=torch.float64)
    running = []
    last = int(valid.max())
    for t in range(last):
        alive = valid > t
        q, r = torch.linalg.qr(recurrence.push(s, x[:, t], q.mT).mT)
        s = recurrence.step(s, x[:, t])
        grown = r.diagonal(dim1=1, dim2=2).abs().log().cpu()
        if not bool((s.isfinite().all(1).cpu() & ~grown.isnan().any(1))[alive].all()):
            raise NonFiniteStatesError(
                f"A trajectory leaves the numbers at step {t}: the map diverges from where it was "
                "started, or is not differentiable there. Start it elsewhere, or run fewer steps."
            )
        if t >= transient:
            total += torch.where(alive[:, None], grown, 0.0)
            steps = (valid.clamp(max=t + 1) - transient).sum()
            running.append(total.sum(0) / steps)
        progress(t + 1, last)
    finite = total / (valid - transient)[:, None]
    error = torch.full((k,), torch.nan, dtype=torch.float64)
    if len(kept) > 1:
        error = finite.std(0) / len(kept) ** 0.5
    order = running[-1].argsort(descending=True)
    return Spectrum(
        exponents=running[-1][order],
        standard_error=error[order],
        finite_time=finite[:, order],
        running=torch.stack(running)[:, order],
        n_steps=int((valid - transient).sum()),
    )


def kaplan_yorke(exponents: Tensor, n: int) -> float:
    """The dimension in which volumes neither grow nor shrink (Kaplan & Yorke 1979).

    Parameters
    ----------
    exponents : Tensor
        (k,), largest first.
    n : int
        Width of the state.

    Returns
    -------
    float
        j + (l_1 + ... + l_j) / |l_(j+1)| with the largest j whose sum is not negative; n where all
        n together do not shrink; NaN where the k < n known ones do not: more are needed.
    """
    sums = exponents.cumsum(0)
    j = int((sums >= 0).cumprod(0).sum())
    if j == 0:
        return 0.0
    if j == len(exponents):
        return float(n) if j == n else float("nan")
    return j + float(sums[j - 1] / exponents[j].abs())
