"""What is this point? What has to be shown, and how each part is measured.

A small speed proves little: with update gates shut, F(s) - s is small anywhere. The certificate
of a fixed point asks for four things: the speed, the Newton step that would still be taken in the
fast directions, the invariant set, and the drift along directions in which I - J is singular.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from torch import Tensor

from dynprobe.dynamics.corrections import FastCorrection
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.newton import unit

#: A direction is slow when it relaxes by at most this share a step (tau >= 20).
SLOW_SPLIT = 0.05
#: Singular values of the root Jacobian at most this are "none": the point lies on a continuum.
NULL_SPLIT = 1e-6
#: Largest Newton step of a fixed point, in units of the state scale.
STEP_LIMIT = 1e-6
#: The same of a slow point, in its fast directions: it stays where it landed.
LANDED = 1e-3
#: A continuum is looked for this far along a null direction, in units of the state scale.
ALONG = 1e-2
#: Steps that a slow point is run for, and how much further than at its first speed it may get.
LINGER, FASTER = 10, 3.0
#: Rounding level of a drift: this many units in the last place of the model's dtype.
ROUNDING_UNITS = 10.0


class Status(IntEnum):
    """What a point is."""

    FIXED = 0
    SLOW = 1
    UNCONVERGED = 2


@dataclass(frozen=True)
class Cuts:
    """What a search calls small.

    Attributes
    ----------
    tol : float
        Largest speed of a fixed point.
    slow : float
        Largest speed of a slow point, in units of the squared scale.
    scale : float
        Size of a typical state.
    """

    tol: float
    slow: float
    scale: float


@dataclass(frozen=True)
class Certificate:
    """Measurements at each point, all (points,) but the vectors.

    Attributes
    ----------
    speed : Tensor
        q = 1/2 ||F(s) - s||^2 (Sussillo & Barak 2013, equation 2).
    step : Tensor
        Norm of the Newton step in the fast directions: of the root form for fixed points, of
        F(s) - s otherwise.
    drift : Tensor
        Of fixed points, the residual of the root form along the left null vectors, 0 without
        any; of others, the residual of F(s) - s along the slow left vectors: how far the point
        moves along the slow manifold in a step.
    slow_dims : Tensor
        Directions that relax by at most ``SLOW_SPLIT`` a step.
    null_dims : Tensor
        Directions along which a fixed point may be moved and still is one, up to rounding: the
        dimension of its continuum. Not measured (0) elsewhere.
    inside : Tensor
        Whether the point lies in the map's invariant box; True where none is known.
    status : Tensor
        Of :class:`Status`.
    left, right : Tensor
        (points, k, n), slow directions as rows, slowest first: where the point may be moved
        (right), and what of a push moves it there (left). Zero rows where there are fewer.
    """

    speed: Tensor
    step: Tensor
    drift: Tensor
    slow_dims: Tensor
    null_dims: Tensor
    inside: Tensor
    status: Tensor
    left: Tensor
    right: Tensor

    def __getitem__(self, rows: Tensor) -> Certificate:
        """Some of the points."""
        return Certificate(*(getattr(self, f.name)[rows] for f in fields(self)))


def speed(system: Map, states: Tensor, inputs: Tensor) -> Tensor:
    """q(s) = 1/2 ||F(s, x) - s||^2, (points,); Sussillo & Barak 2013, equation 2."""
    return 0.5 * (system.step(states, inputs) - states).square().sum(1)


def certify(system: Map, states: Tensor, inputs: Tensor, cuts: Cuts) -> Certificate:
    """Measure every part of the certificate at each point.

    Parameters
    ----------
    states, inputs : Tensor
        (points, state_dim) and (points, input_dim), float64 and finite.
    cuts : Cuts
        What is small.
    """
    residual = system.step(states, inputs) - states
    q = 0.5 * residual.square().sum(1)
    size = unit(states, cuts.scale)
    bound = system.bound(inputs)
    inside = (
        torch.ones_like(q, dtype=torch.bool)
        if bound is None
        else (states.abs() <= bound * (1 + 1e-9)).all(1)
    )
    whole = system.jacobian(states, inputs)
    whole = whole - torch.eye(whole.shape[-1], dtype=whole.dtype, device=whole.device)
    fast = FastCorrection.of(whole, SLOW_SPLIT)
    inside &= fast.usable & q.isfinite()
    step, drift = fast(residual).norm(dim=1), fast.slow.along(residual).norm(dim=1)
    slow_dims, null_dims = fast.slow.dims, torch.zeros_like(fast.slow.dims)

    still = (inside & (q <= cuts.tol)).nonzero().flatten()
    fixed = torch.zeros_like(inside)
    if len(still):
        at, x = states[still], inputs[still]
        jac = system.root_jacobian(at, x)
        root = (
            # the cell has no root form of its own
            FastCorrection(
                fast.lu.take(still), fast.slow.take(still).up_to(NULL_SPLIT), fast.usable[still]
            )
            if torch.equal(jac, whole[still])
            else FastCorrection.of(jac, NULL_SPLIT)
        )
        r = system.root(at, x)
        remaining, along = root(r).norm(dim=1), root.slow.along(r).norm(dim=1)
        rounding = ROUNDING_UNITS * torch.finfo(system.dtype).eps * cuts.scale
        fixed[still] = root.usable & (remaining <= STEP_LIMIT * size[still]) & (along <= rounding)
        sure = fixed[still].nonzero().flatten()
        rows = still[sure]
        step[rows], drift[rows] = remaining[sure], along[sure]
        null_dims[rows] = _continuum(
            system, states[rows], inputs[rows], root.take(sure), cuts.scale, rounding
        )
    slow = (
        ~fixed
        & inside
        & (slow_dims > 0)
        & (q <= cuts.slow * cuts.scale**2)
        & (step <= LANDED * cuts.scale)
    )
    if bool(slow.any()):
        slow[slow.clone()] = _lingers(system, states[slow], inputs[slow], residual[slow])
    status = torch.full_like(slow_dims, int(Status.UNCONVERGED))
    status[slow] = int(Status.SLOW)
    status[fixed] = int(Status.FIXED)
    left, right = (v.mT.flip(1) for v in (fast.slow.left, fast.slow.right))
    return Certificate(q, step, drift, slow_dims, null_dims, inside, status, left, right)


def _continuum(
    system: Map, states: Tensor, inputs: Tensor, root: FastCorrection, scale: float, rounding: float
) -> Tensor:
    """In how many of its null directions each fixed point can be moved, (points,).

    A singular I - J alone does not make a continuum: h' = tanh(h) has one isolated fixed point,
    and a long feed-forward chain of units a Jacobian that is singular but for 1e-8. Moved along
    the direction and landed again, a point of a continuum has no drift.
    """
    dims = torch.zeros(len(states), dtype=torch.int64, device=states.device)
    for column in range(root.slow.right.shape[2]):
        direction = root.slow.right[..., column]
        moved = states + ALONG * scale * direction
        for _ in range(5):  # corrections with the Jacobian of the point itself
            moved = moved + root(system.root(moved, inputs))
        r = system.root(moved, inputs)
        still = r.norm(dim=1) <= 10 * rounding
        dims += (still & (direction.norm(dim=1) > 0)).long()
    return dims


def _lingers(system: Map, states: Tensor, inputs: Tensor, residual: Tensor) -> Tensor:
    """Whether points are as slow as their first step says, (points,).

    In a non-normal map a small step may be followed by a large one: it is run to see.
    """
    after = states
    for _ in range(LINGER):
        after = system.step(after, inputs)
    moved = (after - states).norm(dim=1)
    return torch.le(moved, FASTER * LINGER * residual.norm(dim=1))
