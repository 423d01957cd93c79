"""Points to start from, and the input each of them holds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynprobe.dynamics.fixed_points import FixedPoints
from dynprobe.dynamics.maps import Map
from dynprobe.errors import ShapeError


def starting_points(system: Map, points: FixedPoints | Tensor) -> tuple[Tensor, float]:
    """States (points, state_dim) in float64 where the map computes, and their typical size.

    The size is that of the seeds of a search, the root mean square norm of states, or 1 where all
    of them are zero.

    Raises
    ------
    ShapeError
        If there are none, their width is not the map's, or they are not finite.
    """
    states = points.states if isinstance(points, FixedPoints) else points
    if states.dim() != 2 or states.shape[1] != system.state_dim:
        raise ShapeError(
            f"states have shape {tuple(states.shape)}; this recurrence needs (points, "
            f"{system.state_dim}). One state is state[None]."
        )
    if len(states) == 0:
        raise ShapeError("There are no states to start from.")
    bad = (~states.isfinite()).any(1).nonzero().flatten()
    if len(bad):
        raise ShapeError(f"State {int(bad[0])} holds NaN or Inf; drop such states.")
    s = states.detach().to(system.device, torch.float64)
    if isinstance(points, FixedPoints):
        return s, points.scale
    return s, math.sqrt(float(s.square().sum(1).mean())) or 1.0


def held_input(
    system: Map, x: Tensor | None, states: Tensor, points: FixedPoints | Tensor, what: str
) -> Tensor:
    """The input of every point, (points, input_dim): given, the points' own, or zero.

    Parameters
    ----------
    system : Map
        Whose input it is.
    x : Tensor or None
        (input_dim,) or (points, input_dim).
    states : Tensor
        (points, state_dim), for the number of points, dtype and device.
    points : FixedPoints or Tensor
        Where the states are from: fixed points know their inputs.
    what : str
        The argument's name, for errors.
    """
    n, width = len(states), system.input_dim
    if x is None:
        if isinstance(points, FixedPoints):
            return points.inputs.to(states)
        return states.new_zeros(n, width)
    if x.shape not in ((width,), (n, width)):
        raise ShapeError(
            f"{what} has shape {tuple(x.shape)}; needed is ({width},), or one for each point "
            f"({n}, {width})."
        )
    if not bool(x.isfinite().all()):
        raise ShapeError(f"{what} holds NaN or Inf.")
    return x.detach().to(states).expand(n, width)
