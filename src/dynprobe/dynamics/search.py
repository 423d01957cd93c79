"""The search for fixed and slow points from seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from dynprobe.dynamics.certificate import Cuts, Status
from dynprobe.dynamics.condition import LARGE, ROUNDS, ConditionSearch
from dynprobe.dynamics.fixed_points import FixedPoints, join
from dynprobe.dynamics.maps import Map
from dynprobe.errors import ConvergenceError, ShapeError
from dynprobe.progress import Progress, bar

#: Speed of a slow point in units of the squared state scale: q = 1/2 (v)^2 with v = 1.4 % of the
#: state scale a step, about 70 steps to cross it. A ring of 128 tanh units with weight noise 1e-3
#: drifts at 1e-3 of its radius, q = 5e-7, and a counting network between two of its fixed points
#: at q near 1e-5: both are slow, and a state still on its way to the attractor is not.
SLOW_TOLERANCE = 1e-4


@torch.no_grad()
def find_fixed_points(
    recurrence: Map,
    seeds: Tensor,
    inputs: Tensor | Mapping[str, Tensor] | None = None,
    *,
    tol: float = 1e-12,
    slow_tol: float = SLOW_TOLERANCE,
    max_iter: int = 60,
    noise: float = 0.0,
    rounds: int | None = None,
    throw: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> FixedPoints:
    """Find the fixed and slow points of a recurrence from seeds, each on its own.

    From every seed a Newton iteration on the root form looks for a fixed point. A seed that
    reaches an isolated one without slow directions is done. Any other seed lands on the slow
    manifold next to it: a Newton iteration in the fast directions only, so that it does not slide
    along the slow ones. A landing that passes the certificate of a fixed point is FIXED; one that
    does not may be SLOW, and the fixed point that Newton found from the same seed, unless it is
    next to the landing, is added as a further point.

    A seed that led nowhere is tried once more from where the network itself takes it in 20 steps.

    Where the map has a bounded invariant set the indices of all fixed points must sum to 1; if
    they do not, new seeds are drawn between the known points and from all over the set.

    A map that is affine in the state (linear attention, state-space models) is solved in closed
    form instead, without a search and without Jacobians.

    Parameters
    ----------
    recurrence : Recurrence
        Any map with ``step``, ``jacobian``, ``root``, ``root_jacobian`` and ``bound``.
    seeds : Tensor
        (n_seeds, state_dim), typically ``recording.sample(...)``.
    inputs : Tensor or mapping, optional
        The input held: zero by default; (input_dim,); (n_seeds, input_dim); or several conditions
        ``{"name": (input_dim,)}``, each searched from all seeds.
    tol : float
        Largest speed q of a FIXED point.
    slow_tol : float
        Largest speed of a SLOW point, in units of the squared state scale.
    max_iter : int
        Jacobians per point and stage.
    noise : float
        Standard deviation of Gaussian noise added to the seeds.
    rounds : int, optional
        At most so many rounds of 256 new seeds while points are missing: 4, and none for states
        of 1,000 numbers or more.
    throw : bool
        Raise ConvergenceError if a point stays UNCONVERGED.
    seed : int
        Seed of the noise, and of seeds between known points.
    progress : callable, optional
        Called as ``progress(done, total)``; by default a bar on a terminal, and nothing elsewhere.

    Returns
    -------
    FixedPoints
        Interrupted (Ctrl-C), the seeds not reached are returned as UNCONVERGED.

    Raises
    ------
    ShapeError
        If seeds or inputs have the wrong width, there are no seeds, or they are not finite.
    ConvergenceError
        With ``throw=True``.

    Notes
    -----
    All residuals and certificates are computed in float64, whatever the dtype of the model.
    Saddles count: a point is not judged by running the network from it. From 1,000 numbers in a
    state on, corrections come from products with the Jacobian (GMRES) instead of its
    factorisation; Jacobians are formed of distinct zeros, and a seed lands on a slow manifold only
    where Newton's method finds no isolated fixed point from it.
    """
    for name, value, least in (("tol", tol, 0), ("slow_tol", slow_tol, 0), ("noise", noise, 0)):
        if not (math.isfinite(value) and value >= least):
            raise ValueError(f"{name} is {value}; it is a finite number, at least {least}.")
    if max_iter < 1:
        raise ValueError(f"max_iter is {max_iter}; at least one Jacobian is needed.")
    generator = torch.Generator().manual_seed(seed)
    start = _check_seeds(recurrence, seeds)
    if noise:
        jitter = torch.randn(start.shape, generator=generator, dtype=start.dtype)
        start = start + noise * jitter.to(start.device)
    names, held = _conditions(recurrence, inputs, start)
    _check_map(recurrence, start, held[0])
    if rounds is None:
        rounds = ROUNDS if recurrence.state_dim < LARGE else 0
    cuts = Cuts(tol, slow_tol, _scale(recurrence, start, held[0]))
    searches = [
        ConditionSearch(recurrence, cuts, names, c, start, x, max_iter) for c, x in enumerate(held)
    ]
    if progress is None:
        with bar("fixed points") as shown:
            _run(searches, rounds, generator, shown)
    else:
        _run(searches, rounds, generator, progress)
    points = replace(
        join([row for s in searches for row in s.rows] + [b for s in searches for b in s.beyond]),
        completeness=tuple(s.verdict for s in searches if s.verdict is not None),
    )
    failed = points.count(Status.UNCONVERGED)
    if throw and failed:
        raise ConvergenceError(
            f"{failed} of {len(points)} points did not converge (speed up to "
            f"{float(points.speed[points.status == Status.UNCONVERGED].max()):.1e}). Look at "
            "them with throw=False, add noise to the seeds, or raise max_iter or slow_tol."
        )
    return points


def _run(
    searches: list[ConditionSearch], rounds: int, generator: torch.Generator, progress: Progress
) -> None:
    """Search all conditions; after an interrupt, what is left is left as it is."""
    interrupted = False
    total, done = sum(len(s.start) for s in searches), 0
    for search in searches:
        for at in search.chunks():
            before = len(search.rows)
            try:
                if interrupted:
                    raise KeyboardInterrupt
                search.run(at)
            except KeyboardInterrupt:
                interrupted = True
                if len(search.rows) == before:
                    search.leave(at)
            done += len(at)
            progress(done, total)
        try:
            search.complete(0 if interrupted else rounds, generator, interrupted=interrupted)
        except KeyboardInterrupt:
            interrupted = True
            search.complete(0, generator, interrupted=True)


def _scale(system: Map, start: Tensor, x: Tensor) -> float:
    """Size of a typical state: the median norm of the seeds, at most the corner of the box.

    The median, so that one wild seed does not blur all the others.
    """
    norms = start.norm(dim=1)
    scale = float(norms.median())
    bound = system.bound(x[:1])
    if bound is not None:
        scale = min(scale, float(bound[0].norm()))
    if not math.isfinite(scale):
        raise ShapeError("The seeds are too large for float64: their squares overflow.")
    return scale or float(norms.max().clamp(max=1e300)) or 1.0


def _check_map(system: Map, start: Tensor, x: Tensor) -> None:
    """Ask the map once, so that a wrong shape has a name."""
    n = system.state_dim
    after = system.step(start[:1], x[:1])
    if after.shape != (1, n):
        raise ShapeError(
            f"step gave shape {tuple(after.shape)} for one state of width {n}; it must return "
            f"(batch, {n})."
        )
    if n >= LARGE or system.affine(x[:1]) is not None:
        return
    for name in ("jacobian", "root_jacobian"):
        jac = getattr(system, name)(start[:1], x[:1])
        if jac.shape != (1, n, n) or jac.dtype != start.dtype:
            raise ShapeError(
                f"{name} gave shape {tuple(jac.shape)} and {jac.dtype} for one {start.dtype} state "
                f"of width {n}; it must return (batch, {n}, {n}) in the dtype of the state."
            )


def _check_seeds(system: Map, seeds: Tensor) -> Tensor:
    seeds = torch.as_tensor(seeds)
    if seeds.is_complex():
        raise ShapeError("seeds are complex; a state is real numbers.")
    if seeds.dim() != 2 or seeds.shape[1] != system.state_dim:
        raise ShapeError(
            f"seeds have shape {tuple(seeds.shape)}; this recurrence needs (n_seeds, "
            f"{system.state_dim}). recording.sample(n) gives such seeds; one seed is seed[None]."
        )
    if len(seeds) == 0:
        raise ShapeError("There are no seeds to start from; recording.sample(n) gives some.")
    if not bool(seeds.isfinite().all()):
        bad = int((~seeds.isfinite()).any(1).nonzero()[0])
        raise ShapeError(f"Seed {bad} holds NaN or Inf; drop such seeds before the search.")
    return seeds.detach().to(system.device, torch.float64)


def _conditions(
    system: Map, inputs: Tensor | Mapping[str, Tensor] | None, start: Tensor
) -> tuple[tuple[str, ...], list[Tensor]]:
    """Names of the conditions and, for each, the input of every seed."""
    n, width = len(start), system.input_dim
    if inputs is None:
        return ("zero input",), [start.new_zeros(n, width)]
    named = inputs if isinstance(inputs, Mapping) else {"input": inputs}
    if not named:
        raise ShapeError("inputs is an empty mapping: give at least one condition, or None.")
    held = []
    for name, value in named.items():
        x = torch.as_tensor(value).detach().to(start)
        if x.shape not in ((width,), (n, width)):
            raise ShapeError(
                f"The input {name!r} has shape {tuple(x.shape)}; needed is ({width},), or one for "
                f"each seed ({n}, {width})."
            )
        if not bool(x.isfinite().all()):
            raise ShapeError(f"The input {name!r} holds NaN or Inf.")
        held.append(x.expand(n, width))
    return tuple(named), held
