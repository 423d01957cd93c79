"""All seeds under one held input: what becomes of each, and whether points are missing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dynprobe.dynamics.affine import AffineMap
from dynprobe.dynamics.certificate import SLOW_SPLIT, Certificate, Cuts, Status, certify
from dynprobe.dynamics.completeness import (
    Completeness,
    Verdict,
    between,
    index_sum,
    judge,
    within,
)
from dynprobe.dynamics.corrections import FastCorrection, FullCorrection
from dynprobe.dynamics.fixed_points import MERGE, FixedPoints, join, overwrite
from dynprobe.dynamics.krylov import SPACE, KrylovCorrection
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.newton import Correction, damped_newton, unit
from dynprobe.dynamics.zeros import Zeros

#: Landing and fixed point closer than this (in state scales) are one point.
SAME_POINT = 1e-3
#: Steps the network itself takes from a seed that led nowhere, before Newton's method tries again.
RUN_ON = 20
#: Bytes of Jacobians worked on at once: on a processor a compromise between its cache and the calls
#: that each portion costs, on a GPU what fills it.
CHUNK_BYTES = {"cpu": 16 * 2**20, "cuda": 256 * 2**20}
#: Numbers in a state from which no Jacobian is formed for every seed.
LARGE = 1000
#: Rounds of new seeds; seeds of one (half between known points, half from all over the box), and
#: the noise of the former in units of an entry's typical size.
ROUNDS, ROUND_SEEDS, ROUND_NOISE = 4, 256, 0.5
#: Slow directions kept of each point.
MOST_VECTORS = 8


@dataclass
class ConditionSearch:
    """All seeds under one condition.

    Attributes
    ----------
    rows : list of FixedPoints
        What became of the seeds, chunk after chunk.
    beyond : list of FixedPoints
        Fixed points found from seeds that are themselves something else, or from new seeds.
    known : FixedPoints or None
        Every distinct zero that Newton's method found, certified once. Seeds share them while
        they hold the same input.
    """

    system: Map
    cuts: Cuts
    names: tuple[str, ...]
    condition: int
    start: Tensor
    x: Tensor
    max_iter: int
    rows: list[FixedPoints] = field(default_factory=list)
    beyond: list[FixedPoints] = field(default_factory=list)
    known: FixedPoints | None = None
    verdict: Completeness | None = None
    on_continuum: bool = False

    def __post_init__(self) -> None:
        self.shared = bool((self.x == self.x[:1]).all())
        self.is_affine = self.system.affine(self.x[:1]) is not None
        self.zeros = Zeros(self.cuts.scale)

    def chunks(self) -> list[Tensor]:
        """Indices of the seeds, in portions that fit the memory."""
        n = self.system.state_dim
        budget = CHUNK_BYTES["cuda" if self.start.is_cuda else "cpu"]
        if self.is_affine:
            size = budget // (8 * n)
        elif n >= LARGE:
            size = 16 * budget // (8 * n * SPACE)
        else:
            size = budget // (8 * n * n)
        return list(torch.arange(len(self.start)).split(min(max(1, size), 4096)))

    # -- one portion of seeds ----------------------------------------------------------------

    def run(self, index: Tensor) -> None:
        """Search from some of the seeds."""
        start, x = self.start[index], self.x[index]
        affine = self.system.affine(x) if self.is_affine else None
        if affine is not None:
            self.rows.append(self._solve(affine, start, x, index))
            return
        if self.on_continuum:
            # the seeds before these came to rest on a continuum, where Newton's method slides
            points = self._land(start, x, index)
            rest = (points.status != Status.FIXED).nonzero().flatten()
            if len(rest):
                which = self._newton(start[rest], x[rest], index[rest])
                points = self._choose(points, rest, which)
        else:
            which = self._newton(start, x, index)
            points = self._known_at(which, start, x, index)
            done = (which >= 0) & points.isolated
            if self.system.state_dim < LARGE:
                done &= points.slow_dims == 0
            rest = (~done).nonzero().flatten()
            if len(rest):
                landed = self._land(start[rest], x[rest], index[rest])
                self.on_continuum = bool(
                    2 * (landed.converged & ~landed.isolated).sum() >= len(index)
                )
                every = torch.arange(len(rest))
                points = overwrite(points, rest, self._choose(landed, every, which[rest]))
        lost = (points.status == Status.UNCONVERGED).nonzero().flatten()
        if len(lost):
            moved = start[lost]
            for _ in range(RUN_ON):
                moved = self.system.step(moved, x[lost])
            kept = moved.isfinite().all(1).nonzero().flatten().cpu()
            if len(kept):
                lost = lost[kept]
                again = self._newton(moved[kept], x[lost], index[lost])
                points = self._choose(points, lost, again)
        self.rows.append(points)

    def leave(self, index: Tensor) -> None:
        """The seeds as they are, UNCONVERGED: the search was interrupted before them."""
        self.rows.append(self._untouched(self.start[index], self.x[index], index))

    def _newton(self, start: Tensor, x: Tensor, index: Tensor) -> Tensor:
        """Which known zero Newton's method reaches from each seed, -1 for none; learns new ones."""
        system = self.system
        large = system.state_dim >= LARGE

        def residual(s: Tensor, i: Tensor) -> Tensor:
            return system.root(s, x[i])

        def linearise(s: Tensor, i: Tensor) -> Correction:
            if large:
                return KrylovCorrection.of(residual, s, i)
            return FullCorrection.of(system.root_jacobian(s, x[i]))

        def arrived(s: Tensor, i: Tensor) -> Tensor:
            return self.zeros.reached(s, residual(s, i))

        found = damped_newton(
            residual,
            linearise,
            start,
            scale=self.cuts.scale,
            max_iter=self.max_iter,
            trust=1.0,
            arrived=arrived if self.shared and not large else None,
        )
        which = found.known.cpu()
        left = (found.converged.cpu() & (which < 0)).nonzero().flatten()
        which[left] = self._learn(found.states[left], x[left], index[left])
        return which

    def _learn(self, states: Tensor, x: Tensor, seeds: Tensor) -> Tensor:
        """The number of each zero, (zeros,); those that are not known yet are certified first."""
        numbers = torch.full((len(states),), -1, dtype=torch.int64)
        if self.known is not None:
            for number, (at, held) in enumerate(
                zip(self.known.states, self.known.inputs, strict=True)
            ):
                numbers[self._same(states, x, at.to(states), held.to(x)) & (numbers < 0)] = number
        new: list[int] = []
        count = 0 if self.known is None else len(self.known)
        while bool((numbers < 0).any()):
            first = int((numbers < 0).nonzero()[0])
            same = self._same(states, x, states[first], x[first]) & (numbers < 0)
            same[first] = True
            numbers[same] = count + len(new)
            new.append(first)
        for rows in torch.tensor(new, dtype=torch.int64).split(self._portion()):
            points = self._certified(states[rows], x[rows], seeds[rows])
            self.known = points if self.known is None else join([self.known, points])
            if self.system.state_dim < LARGE:
                for at, jac in zip(
                    states[rows], self.system.root_jacobian(states[rows], x[rows]), strict=True
                ):
                    self.zeros.add(at, jac)
        return numbers

    def _same(self, states: Tensor, x: Tensor, at: Tensor, held: Tensor) -> Tensor:
        """(states,), which of the zeros are the one at a place, under its input."""
        apart = (states - at).norm(dim=1)
        size = torch.minimum(unit(states, self.cuts.scale), unit(at, self.cuts.scale))
        same: Tensor = apart <= MERGE * size
        if not self.shared:
            same &= (x == held).all(1)
        here: Tensor = same.cpu()
        return here

    def _portion(self) -> int:
        """How many Jacobians are worked on at once."""
        budget = CHUNK_BYTES["cuda" if self.start.is_cuda else "cpu"]
        return max(1, budget // (8 * self.system.state_dim**2))

    def _known_at(self, which: Tensor, start: Tensor, x: Tensor, index: Tensor) -> FixedPoints:
        """One row for each seed: the known zero it reached, or the seed itself."""
        points = self._untouched(start, x, index)
        rows = (which >= 0).nonzero().flatten()
        if len(rows) == 0:
            return points
        assert self.known is not None
        return overwrite(points, rows, replace(self.known[which[rows]], seed=index[rows]))

    def _land(self, start: Tensor, x: Tensor, index: Tensor) -> FixedPoints:
        """The point of the slow manifold next to each seed, certified."""
        system = self.system
        eye = torch.eye(system.state_dim, dtype=start.dtype, device=start.device)
        points = []
        # a Jacobian for each seed, however large the state
        for at in torch.arange(len(start)).split(self._portion()):
            held = x[at]

            def residual(s: Tensor, i: Tensor, held: Tensor = held) -> Tensor:
                return system.step(s, held[i]) - s

            def linearise(s: Tensor, i: Tensor, held: Tensor = held) -> Correction:
                return FastCorrection.of(system.jacobian(s, held[i]) - eye, SLOW_SPLIT)

            landed = damped_newton(
                residual,
                linearise,
                start[at],
                scale=self.cuts.scale,
                max_iter=self.max_iter,
            ).states
            finite = landed.isfinite().all(1, keepdim=True)
            points.append(self._certified(torch.where(finite, landed, 0.0), held, index[at]))
        return join(points)

    def _choose(self, landing: FixedPoints, rows: Tensor, which: Tensor) -> FixedPoints:
        """Some landings replaced by the zero Newton's method reached from the same seed."""
        has = which >= 0
        rows, which = rows[has], which[has]
        if len(rows) == 0:
            return landing
        assert self.known is not None
        zero, landed = self.known[which], landing[rows]
        near = (zero.states - landed.states).norm(dim=1) <= SAME_POINT * self.cuts.scale
        lost = landed.status == Status.UNCONVERGED
        resting = landed.converged & ~landed.isolated
        better = torch.where(
            zero.converged,
            lost | (near & ~resting) | (landed.slow & self._governed(landed, which)),
            lost & (zero.speed < landed.speed),
        )
        return overwrite(landing, rows[better], replace(zero[better], seed=landed.seed[better]))

    def _governed(self, landed: FixedPoints, which: Tensor) -> Tensor:
        """Whether landings lie where the linearisation at a known zero holds.

        The way to a node with a slow mode is no slow manifold of its own.
        """
        if not self.zeros.states:
            return torch.zeros(len(landed), dtype=torch.bool)
        s, x = landed.states.to(self.start), landed.inputs.to(self.start)
        return self.zeros.governs(s, self.system.root(s, x), which.to(s.device)).cpu()

    def _solve(self, affine: AffineMap, start: Tensor, x: Tensor, index: Tensor) -> FixedPoints:
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
        status[q <= self.cuts.slow * self.cuts.scale**2] = int(Status.SLOW)
        # rounding grows with the state, and a state of slow modes is large
        size = 1 + states.square().sum(1)
        status[solved & (q <= self.cuts.tol * size)] = int(Status.FIXED)
        drift = r.norm(dim=1)
        step = torch.where(solved, drift / away.amin(1), drift)
        dims = (away <= SLOW_SPLIT).sum(1)
        none = states.new_zeros(len(states), 0, states.shape[1])
        inside = torch.ones_like(solved)
        found = Certificate(
            q, step, drift, dims, torch.zeros_like(dims), inside, status, none, none
        )
        return self._points(states, x, found, index)

    # -- all of them -------------------------------------------------------------------------

    def complete(self, rounds: int, generator: torch.Generator, *, interrupted: bool) -> None:
        """Check the indices, search between known points while they do not add up, and judge."""
        name = self.names[self.condition]
        if self.is_affine:
            found = join(self.rows)
            if interrupted:
                reason = "the search was interrupted"
                self.verdict = Completeness(name, Verdict.NOT_APPLICABLE, None, 0, reason)
            elif bool(found.converged.all()):
                reason = "the map is affine: its only fixed point is solved for"
                self.verdict = Completeness(name, Verdict.CLOSED_FORM, None, 0, reason)
            else:
                reason = "the map is affine and has an eigenvalue 1: no isolated fixed point"
                self.verdict = Completeness(name, Verdict.NOT_APPLICABLE, None, 0, reason)
            return
        self.beyond = self._beyond()
        bound = self.system.bound(self.x[:1]) if self.shared else None
        bounded = bound is not None and bool(bound.isfinite().all())
        spent = 0
        while True:
            points = join([*self.rows, *self.beyond])
            continuum = bool((points.converged & ~points.isolated).any())
            total = None
            if bounded and not continuum and not interrupted:
                fixed = points.unique()
                total = index_sum(
                    self.system, fixed.states.to(self.start), fixed.inputs.to(self.start)
                )
            if total in (None, 1) or spent >= rounds:
                break
            spent += 1
            assert bound is not None
            self._search_again(points.unique().states, bound[0], generator)
            self.beyond = self._beyond()
        self.verdict = judge(
            name,
            shared=self.shared,
            bounded=bounded,
            interrupted=interrupted,
            continuum=continuum,
            total=total,
            rounds=spent,
        )

    def _search_again(self, known: Tensor, bound: Tensor, generator: torch.Generator) -> None:
        """Newton's method from between the known points, and from all over the box."""
        typical = self.cuts.scale / math.sqrt(self.start.shape[1])
        around, half = known if len(known) else self.start.cpu(), ROUND_SEEDS // 2
        new = torch.cat(
            [
                between(around, half, ROUND_NOISE * typical, generator).to(self.start),
                within(bound, half, generator).to(self.start),
            ]
        )
        for index in torch.arange(len(new)).split(len(self.chunks()[0])):
            x = self.x[:1].expand(len(index), -1)
            self._newton(new[index], x, torch.full_like(index, -1))

    def _beyond(self) -> list[FixedPoints]:
        """Known fixed points that no seed's own row is."""
        if self.known is None:
            return []
        rows = join(self.rows)
        rows, fixed = rows[rows.converged], self.known[self.known.isolated].unique()
        new = torch.ones(len(fixed), dtype=torch.bool)
        for i in range(len(fixed)):
            near = (rows.states - fixed.states[i]).norm(dim=1)
            near = near <= MERGE * unit(fixed.states[i], self.cuts.scale)
            new[i] = not bool((near & (rows.inputs == fixed.inputs[i]).all(1)).any())
        return [fixed[new]] if bool(new.any()) else []

    # -- rows --------------------------------------------------------------------------------

    def _certified(self, states: Tensor, x: Tensor, index: Tensor) -> FixedPoints:
        return self._points(states, x, certify(self.system, states, x, self.cuts), index)

    def _untouched(self, start: Tensor, x: Tensor, index: Tensor) -> FixedPoints:
        unknown = torch.full((len(start),), torch.nan, dtype=start.dtype)
        zero = torch.zeros(len(start), dtype=torch.int64)
        none = start.new_zeros(len(start), 0, start.shape[1])
        status = zero + int(Status.UNCONVERGED)
        nothing = Certificate(unknown, unknown, unknown, zero, zero, zero == 1, status, none, none)
        return self._points(start, x, nothing, index)

    def _points(self, states: Tensor, x: Tensor, found: Certificate, index: Tensor) -> FixedPoints:
        return FixedPoints(
            states=states.cpu(),
            inputs=x.cpu(),
            speed=found.speed.cpu(),
            status=found.status.cpu(),
            isolated=((found.status == Status.FIXED) & (found.null_dims == 0)).cpu(),
            drift=found.drift.cpu(),
            step=found.step.cpu(),
            slow_dims=found.slow_dims.cpu(),
            null_dims=found.null_dims.cpu(),
            left=found.left[:, :MOST_VECTORS].cpu(),
            right=found.right[:, :MOST_VECTORS].cpu(),
            inside=found.inside.cpu(),
            seed=index,
            condition=torch.full((len(states),), self.condition, dtype=torch.int64),
            conditions=self.names,
            scale=self.cuts.scale,
            tol=self.cuts.tol,
            slow_tol=self.cuts.slow,
        )
