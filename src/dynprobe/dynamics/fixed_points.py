"""Fixed points and slow points of a map, each with the evidence for what it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from dynprobe.dynamics.affine import AffineMap
from dynprobe.dynamics.certificate import Certificate, certify, split_residual
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.newton import restricted_newton
from dynprobe.errors import ConvergenceError, ShapeError

#: A direction is slow for the landing when it relaxes by at most this share a step (tau >= 10).
SLOW_SPLIT = 0.1
#: Speed of a slow point in units of the squared state scale: q = 1/2 (v)^2 with v = 1.4 % of the
#: state scale a step, about 70 steps to cross it. A ring of 128 tanh units with weight noise 1e-3
#: drifts at 1e-3 of its radius, q = 5e-7, and a counting network between two of its fixed points
#: at q near 1e-5: both are slow, and a state still on its way to the attractor is not.
SLOW_TOLERANCE = 1e-4
#: Landing and fixed point closer than this (in state scales) are one point.
SAME_POINT = 1e-3
#: Isolated fixed points closer than this (in state scales) are one.
MERGE = 1e-4
#: Bytes of Jacobians worked on at once.
CHUNK_BYTES = 64 * 2**20

Progress = Callable[[int, int], None]


class Status(IntEnum):
    """What a returned point is."""

    FIXED = 0
    SLOW = 1
    UNCONVERGED = 2


@dataclass(frozen=True)
class FixedPoints:
    """Points of a search, with their certificates. Float64, on the CPU.

    The first rows belong to the seeds, in order; fixed points that were found beyond them, by
    following a slow point to the fixed point that governs it, come after.

    Attributes
    ----------
    states : Tensor
        (points, state_dim).
    inputs : Tensor
        (points, input_dim), the input held constant.
    speed : Tensor
        (points,), q = 1/2 ||F(s) - s||^2.
    status : Tensor
        (points,) of :class:`Status`.
    isolated : Tensor
        (points,), False where the point lies on a continuum (I - J singular).
    drift : Tensor
        (points,). Of fixed points, the residual along the null directions; of slow points, how
        far they move along the slow manifold in one step.
    step : Tensor
        (points,), Newton step still left in the fast directions.
    slow_dims : Tensor
        (points,), number of directions slower than the split.
    inside : Tensor
        (points,), in the invariant box of the map (True where none is known).
    seed : Tensor
        (points,), index of the seed it came from.
    condition : Tensor
        (points,), index into `conditions`.
    conditions : tuple of str
        Names of the inputs held.
    scale : float
        Size of a typical state: root mean square norm of the seeds.
    tol, slow_tol : float
        The cuts on speed: FIXED at most `tol`, SLOW at most ``slow_tol * scale**2``.
    """

    states: Tensor
    inputs: Tensor
    speed: Tensor
    status: Tensor
    isolated: Tensor
    drift: Tensor
    step: Tensor
    slow_dims: Tensor
    inside: Tensor
    seed: Tensor
    condition: Tensor
    conditions: tuple[str, ...]
    scale: float
    tol: float
    slow_tol: float

    @property
    def converged(self) -> Tensor:
        """(points,), True where the point is certified FIXED."""
        return self.status == Status.FIXED

    @property
    def slow(self) -> Tensor:
        """(points,), True where the point is SLOW."""
        return self.status == Status.SLOW

    def __len__(self) -> int:
        """Number of points."""
        return len(self.states)

    def __getitem__(self, index: Tensor | slice) -> FixedPoints:
        """Some of the points; an index or a mask."""
        return replace(self, **{n: getattr(self, n)[index] for n in _PER_POINT})

    def unique(self) -> FixedPoints:
        """Distinct FIXED points only.

        Isolated points that coincide are merged, the slowest one kept. Points of a continuum are
        all kept: they are different points, however close.
        """
        fixed = self[self.converged]
        order = fixed.speed.argsort(stable=True)
        kept: list[int] = []
        for i in order.tolist():
            same = [
                j
                for j in kept
                if fixed.isolated[i]
                and fixed.isolated[j]
                and fixed.condition[i] == fixed.condition[j]
            ]
            if same:
                distance = (fixed.states[same] - fixed.states[i]).norm(dim=1).min()
                if float(distance) <= MERGE * self.scale:
                    continue
            kept.append(i)
        return fixed[torch.tensor(sorted(kept), dtype=torch.int64)]

    def count(self, status: Status) -> int:
        """Number of points of one status."""
        return int((self.status == status).sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        out: dict[str, Any] = {name: getattr(self, name).tolist() for name in _PER_POINT}
        out["status"] = [Status(s).name for s in self.status.tolist()]
        out |= {"conditions": list(self.conditions), "scale": self.scale}
        return out | {"tol": self.tol, "slow_tol": self.slow_tol}

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.count(s)} {s.name.lower()}" for s in Status)
        return f"FixedPoints({len(self)} points: {counts})"


_PER_POINT = (
    "states",
    "inputs",
    "speed",
    "status",
    "isolated",
    "drift",
    "step",
    "slow_dims",
    "inside",
    "seed",
    "condition",
)


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
    throw: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> FixedPoints:
    """Find the fixed and slow points of a recurrence from seeds, each on its own.

    Every seed first lands on the slow manifold next to it: a Newton iteration in the fast
    directions only, so that it does not slide along the slow ones. A landing that passes the
    certificate of a fixed point is FIXED. From the other seeds a full Newton iteration on the root
    form looks for the fixed point itself; found next to the landing, it replaces it; found
    elsewhere, it is added as a further point, and the landing stays as the SLOW point it is.

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
        Newton iterations per point and stage.
    noise : float
        Standard deviation of Gaussian noise added to the seeds.
    throw : bool
        Raise ConvergenceError if a point stays UNCONVERGED.
    seed : int
        Seed of the noise.
    progress : callable, optional
        Called as ``progress(done, total)``.

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
    Speed: Sussillo & Barak 2013, equation 2. Saddles count: a point is not judged by running the
    network from it.
    """
    start = _check_seeds(recurrence, seeds)
    if noise:
        generator = torch.Generator().manual_seed(seed)
        jitter = torch.randn(start.shape, generator=generator, dtype=start.dtype)
        start = start + noise * jitter.to(start.device)
    scale = math.sqrt(float(start.square().sum(1).mean())) or 1.0
    names, held = _conditions(recurrence, inputs, start)
    total = len(names) * len(start)
    # closed forms need no Jacobians
    numbers = recurrence.state_dim ** (2 if recurrence.affine(held[0][:1]) is None else 1)
    size = max(1, CHUNK_BYTES // (8 * numbers))
    rows: list[FixedPoints] = []
    extras: list[FixedPoints] = []
    done = 0
    interrupted = False
    for c, x in enumerate(held):
        for first in range(0, len(start), size):
            at = slice(first, first + size)
            index = torch.arange(len(start))[at]
            blank = _Search(recurrence, tol, slow_tol, scale, names, c, index)
            try:
                if interrupted:
                    raise KeyboardInterrupt
                found, beyond = blank.run(start[at], x[at], max_iter)
                extras.append(beyond)
            except KeyboardInterrupt:
                interrupted = True
                found = blank.untouched(start[at], x[at])
            rows.append(found)
            done += len(index)
            if progress is not None:
                progress(done, total)
    points = join([*rows, *_new_points(rows, extras)])
    failed = points.count(Status.UNCONVERGED)
    if throw and failed:
        raise ConvergenceError(
            f"{failed} of {len(points)} points did not converge (speed up to "
            f"{float(points.speed[points.status == Status.UNCONVERGED].max()):.1e}). Look at "
            "them with throw=False, add noise to the seeds, or raise max_iter or slow_tol."
        )
    return points


@dataclass(frozen=True)
class _Search:
    """One chunk of seeds under one condition."""

    system: Map
    tol: float
    slow_tol: float
    scale: float
    names: tuple[str, ...]
    condition: int
    index: Tensor

    def run(self, start: Tensor, x: Tensor, max_iter: int) -> tuple[FixedPoints, FixedPoints]:
        """The points of the seeds, and fixed points found beyond them."""
        system = self.system
        affine = system.affine(x)
        if affine is not None:
            solved = self._solve(affine, start, x)
            return solved, solved[:0]
        eye = torch.eye(system.state_dim, dtype=start.dtype, device=start.device)
        landed = restricted_newton(
            lambda s, i: system.step(s, x[i]) - s,
            lambda s, i: system.jacobian(s, x[i]) - eye,
            start,
            split=SLOW_SPLIT,
            scale=self.scale,
            max_iter=max_iter,
        ).states
        landing = self._points(landed, x)
        rest = (landing.status != Status.FIXED).nonzero().flatten()
        if len(rest) == 0:
            return landing, landing[rest]
        polished = restricted_newton(
            lambda s, i: system.root(s, x[rest][i]),
            lambda s, i: system.root_jacobian(s, x[rest][i]),
            start[rest],
            split=1e-6,
            scale=self.scale,
            max_iter=max_iter,
        ).states
        polish = replace(self, index=self.index[rest.cpu()])._points(polished, x[rest])
        rest = rest.cpu()
        slow = landing.status[rest] == Status.SLOW
        distance = (polish.states - landing.states[rest]).norm(dim=1)
        near = distance <= SAME_POINT * self.scale
        fixed = polish.status == Status.FIXED
        better = (fixed & (near | ~slow)) | (~slow & ~fixed & (polish.speed < landing.speed[rest]))
        return _overwrite(landing, rest[better], polish[better]), polish[fixed & ~better]

    def _solve(self, affine: AffineMap, start: Tensor, x: Tensor) -> FixedPoints:
        """The fixed points of affine maps, in closed form.

        Where an eigenvalue is 1 there is none, or a continuum: the seed is returned where it is,
        SLOW or UNCONVERGED by its speed, and never as a fixed point.
        """
        solution, values = affine.fixed_point(), affine.eigenvalues()
        solved = solution.isfinite().all(1)
        states = torch.where(solved[:, None], solution, start)
        r = affine.apply(states) - states
        q = 0.5 * r.square().sum(1)
        away = (1 - values).abs()
        status = torch.full_like(solved, int(Status.UNCONVERGED), dtype=torch.int64)
        status[q <= self.slow_tol * self.scale**2] = int(Status.SLOW)
        # rounding grows with the state, and a state of slow modes is large
        size = 1 + states.square().sum(1)
        status[solved & (q <= self.tol * size)] = int(Status.FIXED)
        drift = r.norm(dim=1)
        step = torch.where(solved, drift / away.amin(1), drift)
        inside = torch.ones_like(solved)
        dims = (away <= SLOW_SPLIT).sum(1)
        found = Certificate(q, step, drift, dims, inside, status == Status.FIXED)
        return self._build(states, x, status, found, solved, dims)

    def _points(self, states: Tensor, x: Tensor) -> FixedPoints:
        states = torch.where(states.isfinite(), states, 0.0)
        found = certify(self.system, states, x, tol=self.tol, scale=self.scale)
        eye = torch.eye(states.shape[1], dtype=states.dtype, device=states.device)
        step, drift, dims = split_residual(
            self.system.jacobian(states, x) - eye, self.system.step(states, x) - states, SLOW_SPLIT
        )
        slow = (
            ~found.fixed
            & (dims > 0)
            & (found.speed <= self.slow_tol * self.scale**2)
            & (step <= SAME_POINT * self.scale)
            & found.inside
        )
        status = torch.full_like(found.slow_dims, int(Status.UNCONVERGED))
        status[found.fixed] = int(Status.FIXED)
        status[slow] = int(Status.SLOW)
        measured = replace(
            found,
            step=torch.where(found.fixed, found.step, step),
            drift=torch.where(found.fixed, found.drift, drift),
        )
        return self._build(states, x, status, measured, found.fixed & (found.slow_dims == 0), dims)

    def untouched(self, start: Tensor, x: Tensor) -> FixedPoints:
        """The seeds as they are, UNCONVERGED: the search was interrupted before them."""
        unknown = torch.full((len(start),), torch.nan, dtype=start.dtype, device=start.device)
        zero = torch.zeros(len(start), dtype=torch.int64, device=start.device)
        nothing = Certificate(unknown, unknown, unknown, zero, zero == 0, zero == 1)
        return self._build(start, x, zero + int(Status.UNCONVERGED), nothing, zero == 1, zero)

    def _build(
        self,
        states: Tensor,
        x: Tensor,
        status: Tensor,
        found: Certificate,
        isolated: Tensor,
        dims: Tensor,
    ) -> FixedPoints:
        return FixedPoints(
            states=states.cpu(),
            inputs=x.cpu(),
            speed=found.speed.cpu(),
            status=status.cpu(),
            isolated=isolated.cpu(),
            drift=found.drift.cpu(),
            step=found.step.cpu(),
            slow_dims=dims.cpu(),
            inside=found.inside.cpu(),
            seed=self.index,
            condition=torch.full((len(states),), self.condition, dtype=torch.int64),
            conditions=self.names,
            scale=self.scale,
            tol=self.tol,
            slow_tol=self.slow_tol,
        )


def _overwrite(points: FixedPoints, rows: Tensor, by: FixedPoints) -> FixedPoints:
    fields: dict[str, Any] = {}
    for name in _PER_POINT:
        values = getattr(points, name).clone()
        values[rows] = getattr(by, name)
        fields[name] = values
    return replace(points, **fields)


def join(parts: list[FixedPoints]) -> FixedPoints:
    """Put the points of several searches of one system together."""
    fields: dict[str, Any] = {n: torch.cat([getattr(p, n) for p in parts]) for n in _PER_POINT}
    return replace(parts[0], **fields)


def _new_points(rows: list[FixedPoints], extras: list[FixedPoints]) -> list[FixedPoints]:
    """Distinct points among `extras` that are not among the seeds' own fixed points."""
    if not extras:
        return []
    known, beyond = join(rows), join(extras).unique()
    known = known[known.converged]
    new = [
        i
        for i in range(len(beyond))
        if not (
            (known.condition == beyond.condition[i])
            & ((known.states - beyond.states[i]).norm(dim=1) <= MERGE * beyond.scale)
        ).any()
    ]
    return [beyond[torch.tensor(new, dtype=torch.int64)]] if new else []


def _check_seeds(system: Map, seeds: Tensor) -> Tensor:
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
        x = value.detach().to(start)
        if x.shape not in ((width,), (n, width)):
            raise ShapeError(
                f"The input {name!r} has shape {tuple(x.shape)}; needed is ({width},), or one for "
                f"each seed ({n}, {width})."
            )
        held.append(x.expand(n, width))
    return tuple(named), held
