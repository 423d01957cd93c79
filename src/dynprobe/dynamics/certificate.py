"""Is this point a fixed point? What has to be shown, and how each part is measured.

A small speed proves little: with update gates shut, F(s) - s is small anywhere. The certificate
asks for four things: the speed, the Newton step that would still be taken in the fast directions,
the invariant set, and the drift along directions in which I - J is singular.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dynamics.maps import Map

#: Singular values of the root Jacobian at most this are "none": the point lies on a continuum.
NULL_SPLIT = 1e-6
#: Largest Newton step of a fixed point, in units of the state scale.
STEP_LIMIT = 1e-6
#: Rounding level of a drift: this many units in the last place of the model's dtype.
ROUNDING_UNITS = 10.0


@dataclass(frozen=True)
class Certificate:
    """Measurements at each point, all (points,).

    Attributes
    ----------
    speed : Tensor
        q = 1/2 ||F(s) - s||^2.
    step : Tensor
        Norm of the Newton step in the fast directions of the root form.
    drift : Tensor
        Norm of the residual along the left singular vectors of the slow part; 0 without one.
    slow_dims : Tensor
        Number of directions in the slow part.
    inside : Tensor
        Whether the point lies in the map's invariant box; True where none is known.
    fixed : Tensor
        Whether all conditions of a fixed point hold.
    """

    speed: Tensor
    step: Tensor
    drift: Tensor
    slow_dims: Tensor
    inside: Tensor
    fixed: Tensor


def speed(system: Map, states: Tensor, inputs: Tensor) -> Tensor:
    """q(s) = 1/2 ||F(s, x) - s||^2, (points,); Sussillo & Barak 2013, equation 2."""
    return 0.5 * (system.step(states, inputs) - states).square().sum(1)


def certify(
    system: Map, states: Tensor, inputs: Tensor, *, tol: float, scale: float
) -> Certificate:
    """Measure every part of the certificate at each point.

    Parameters
    ----------
    states, inputs : Tensor
        (points, state_dim) and (points, input_dim), float64.
    tol : float
        Largest speed of a fixed point.
    scale : float
        Size of a typical state.
    """
    q = speed(system, states, inputs)
    r = system.root(states, inputs)
    step, drift, slow = split_residual(system.root_jacobian(states, inputs), r, NULL_SPLIT)
    bound = system.bound(inputs)
    inside = (
        torch.ones_like(slow, dtype=torch.bool)
        if bound is None
        else (states.abs() <= bound * (1 + 1e-9)).all(1)
    )
    rounding = ROUNDING_UNITS * torch.finfo(system.dtype).eps * scale
    fixed = (q <= tol) & (step <= STEP_LIMIT * scale) & (drift <= rounding) & inside
    return Certificate(q, step, drift, slow, inside, fixed)


def split_residual(jac: Tensor, r: Tensor, split: float) -> tuple[Tensor, Tensor, Tensor]:
    """Newton step in the fast part, residual along the slow part, and its dimension.

    Parameters
    ----------
    jac : Tensor
        (points, n, n), J - I or the root form's Jacobian.
    r : Tensor
        (points, n).
    split : float
        Singular values at most this belong to the slow part.
    """
    u, s, _ = torch.linalg.svd(jac)
    along = (u.mT @ r.unsqueeze(-1)).squeeze(-1)
    slow = s <= split
    step = torch.where(slow, 0.0, along / s.clamp(min=split)).norm(dim=1)
    drift = torch.where(slow, along, 0.0).norm(dim=1)
    return step, drift, slow.sum(1)
