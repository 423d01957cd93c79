"""The search for periodic orbits: fixed points of the map applied k times."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.dynamics.certificate import speed
from dynprobe.dynamics.fixed_points import MERGE, FixedPoints
from dynprobe.dynamics.iterated import IteratedMap
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.orbits import PeriodicOrbits
from dynprobe.dynamics.search import find_fixed_points
from dynprobe.errors import ShapeError


@torch.no_grad()
def find_periodic_points(
    recurrence: Map,
    seeds: Tensor,
    period: int,
    inputs: Tensor | None = None,
    *,
    tol: float = 1e-12,
    max_iter: int = 60,
    rounds: int | None = None,
    seed: int = 0,
) -> PeriodicOrbits:
    """Find orbits that a recurrence returns to after `period` steps under a held input.

    Points with F^k(s) = s are looked for as fixed points of F^k, from every seed on its own, and
    put together to orbits. Points that already return after a proper divisor of k steps, fixed
    points among them, are counted and left out.

    Parameters
    ----------
    recurrence : Recurrence
        The map.
    seeds : Tensor
        (n_seeds, state_dim), typically ``recording.sample(...)``.
    period : int
        k, at least 1.
    inputs : Tensor, optional
        (input_dim,), the input held; zero by default.
    tol : float
        Largest speed ½‖F^k(s) − s‖² of a point.
    max_iter, rounds, seed
        As for :func:`find_fixed_points`.

    Returns
    -------
    PeriodicOrbits
        ``dynprobe.draw(orbits)`` makes a picture of them.

    Raises
    ------
    ShapeError
        If the period is no positive whole number, seeds or inputs have the wrong width, there are
        no seeds, or they are not finite.

    Notes
    -----
    The zeros of F^k are the points of every divisor's orbits together, for a chaotic map
    exponentially many in k, and a search from seeds finds those it comes near; for maps with an
    invariant box `completeness` says when some are known to be missing. Points of shorter periods
    are searched for first, and every state of an orbit found is a seed of the next search. Stable
    and unstable orbits are found alike. An affine map has no isolated orbit but its fixed point,
    and none is reported: where an eigenvalue is -1, everything along it has period two.
    """
    if isinstance(period, bool) or not isinstance(period, int) or period < 1:
        raise ShapeError(f"period={period!r} must be a whole number, 1 or more.")
    width = recurrence.input_dim
    x = seeds.new_zeros(width) if inputs is None else inputs.detach()
    if x.shape != (width,) or not bool(x.isfinite().all()):
        raise ShapeError(
            f"inputs have shape {tuple(x.shape)}; needed is the one input held, ({width},), "
            "without NaN or Inf."
        )
    x = x.to(recurrence.device, torch.float64)

    def search(times: int, start: Tensor) -> FixedPoints:
        affine = recurrence.affine(x[None]) is not None
        system = recurrence if affine else IteratedMap(recurrence, times)
        return find_fixed_points(
            system, start, x, tol=tol, max_iter=max_iter, rounds=rounds, seed=seed
        )

    divisors = [d for d in range(1, period + 1) if period % d == 0]
    start = seeds
    for d in divisors:
        points = search(d, start)
        found = points.unique()
        mates = _orbits(recurrence, found, d).flatten(0, 1)
        start = torch.cat([seeds, mates.to(seeds)])
    if _missing(found, mates):
        points = search(period, start)
        found = points.unique()
    minimal = _minimal_periods(recurrence, found, period)
    orbits = found[minimal == period]
    runs = _orbits(recurrence, orbits, period)
    first = _one_of_each(orbits, runs)
    runs, orbits = runs[first], orbits[first]
    return PeriodicOrbits(
        period=period,
        states=runs,
        input=x.cpu(),
        multipliers=_multipliers(recurrence, orbits, period),
        speed=_speeds(recurrence, runs, x),
        isolated=orbits.isolated,
        scale=points.scale,
        divisors={d: int((minimal == d).sum()) for d in divisors[:-1]},
        unconverged=int((~points.converged[: len(seeds)]).sum()),
        completeness=points.completeness[0],
    )


def _orbits(system: Map, points: FixedPoints, times: int) -> Tensor:
    """The states that follow each point, (points, times, state_dim), on the CPU."""
    s, x = points.states.to(system.device), points.inputs.to(system.device)
    return IteratedMap(system, times).orbit(s, x).cpu()


def _missing(found: FixedPoints, mates: Tensor) -> bool:
    """Whether some states of the orbits were not found for themselves."""
    if len(found) == 0:
        return False
    return bool((torch.cdist(mates, found.states).amin(1) > MERGE * found.scale).any())


def _multipliers(system: Map, orbits: FixedPoints, times: int) -> Tensor:
    """Eigenvalues of the product of the Jacobians, (orbits, state_dim), by falling magnitude."""
    iterated, n = IteratedMap(system, times), system.state_dim
    values = torch.empty(len(orbits), n, dtype=torch.complex128)
    for i, (s, x) in enumerate(zip(orbits.states, orbits.inputs, strict=True)):
        product = iterated.jacobian(s[None].to(system.device), x[None].to(system.device))[0]
        one = torch.linalg.eigvals(product.cpu())
        values[i] = one[one.abs().argsort(descending=True, stable=True)]
    return values


def _speeds(system: Map, runs: Tensor, x: Tensor) -> Tensor:
    """(orbits,), the largest speed of each orbit's states under all of its steps."""
    states = runs.flatten(0, 1).to(x)
    every = speed(IteratedMap(system, runs.shape[1]), states, x.expand(len(states), -1))
    return every.reshape(runs.shape[:2]).amax(1).cpu()


def _minimal_periods(system: Map, points: FixedPoints, period: int) -> Tensor:
    """(points,), the least divisor of the period after which each point is where it was."""
    start, x = points.states.to(system.device), points.inputs.to(system.device)
    minimal = torch.full((len(points),), period)
    s = start
    for d in range(1, period):
        s = system.step(s, x)
        if period % d == 0:
            back = ((s - start).norm(dim=1) <= MERGE * points.scale).cpu()
            minimal[back & (minimal == period)] = d
    return minimal


def _one_of_each(points: FixedPoints, runs: Tensor) -> Tensor:
    """Indices of points no two of which lie on one orbit; `runs` are theirs, (points, k, n)."""
    first: list[int] = []
    for i in range(len(points)):
        away = (runs[first] - points.states[i]).norm(dim=-1)
        if not bool((away <= MERGE * points.scale).any()):
            first.append(i)
    return torch.tensor(first, dtype=torch.int64)
