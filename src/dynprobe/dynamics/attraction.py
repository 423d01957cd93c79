"""Is the manifold attracting? Push states off it and see what becomes of the push."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynprobe.dynamics.fixed_points import FixedPoints
from dynprobe.dynamics.held import held_input, starting_points
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.pushes import Attraction, Response
from dynprobe.errors import ShapeError

#: Numbers of states in memory at once.
BLOCK = 1 << 22
#: How long to run under an input held.
STEPS = 50
#: A direction with a smaller share off the manifold, or along it, has none there.
NOTHING = 1e-9
#: How far rows of a basis may be from orthonormal.
ORTHONORMAL = 1e-5


@torch.no_grad()
def attraction(
    recurrence: Map,
    points: FixedPoints | Tensor,
    inputs: Tensor | None = None,
    *,
    manifold: Tensor | None = None,
    size: float = 0.1,
    steps: int | None = None,
    directions: int | Tensor = 8,
    seed: int = 0,
) -> Attraction:
    """Push states off a manifold, run on with and without the push, and measure the difference.

    Parameters
    ----------
    recurrence : Recurrence
        Any map with ``step``: nothing but steps is asked of it, whatever the width of its state.
    points : FixedPoints or Tensor
        Where to push: the points of a search, or states (points, state_dim), typically
        ``recording.sample(...)``.
    inputs : Tensor, optional
        What the runs are given: an input held, (input_dim,) or (points, input_dim), or sequences
        (points, steps, input_dim). By default fixed points hold their own, states zero.
    manifold : Tensor, optional
        (k, state_dim), orthonormal rows that span the manifold, typically
        ``recording.pca(k).components``. By default the slow directions of each fixed point (its
        `right`); with states there is none, and every direction is off it.
    size : float
        Length of a push in units of the state scale (of a search its `scale`, of states their root
        mean square norm).
    steps : int, optional
        How long to run: 50, or as long as the sequences are.
    directions : int or Tensor
        How many random directions each point is pushed in, or the directions themselves (many,
        state_dim): of each, the part off the manifold is taken for a push off it, and the part
        along it for the control.
    seed : int
        Seed of random directions.

    Returns
    -------
    Attraction
        ``dynprobe.draw(result)`` makes a picture of it.

    Raises
    ------
    ShapeError
        If a width does not fit, there are no states or not a number among them, `manifold` is not
        orthonormal, or there is no direction off it.

    Notes
    -----
    The push is finite, and what comes back is the map's answer, not its linearisation's: on a
    curved manifold a push along it leaves it a little. Computed in float64. A state that holds
    more than memories (a running maximum, a convolution's buffer) is pushed there, too.
    """
    states, scale = starting_points(recurrence, points)
    if not (math.isfinite(size) and size > 0):
        raise ShapeError(f"size={size} must be a positive number, in units of the state scale.")
    x, steps = _inputs(recurrence, inputs, states, points, manifold, steps)
    basis = _basis(points, manifold, states)
    dims = (basis.norm(dim=2) > 0).sum(1)
    if bool((dims >= recurrence.state_dim).any()):
        raise ShapeError("The manifold fills the whole state space: nothing is off it.")
    given = _given(directions, states)
    many = len(given) if given is not None else int(directions)
    generator = torch.Generator().manual_seed(seed)
    off: list[Tensor] = []
    along: list[Tensor] = []
    # a block of points with all their pushes, off and along, in one batch
    block = max(1, BLOCK // ((2 * many + 1) * recurrence.state_dim))
    for rows in torch.arange(len(states), device=states.device).split(block):
        some = states[rows]
        if given is None:
            drawn = torch.randn(
                len(rows), many, some.shape[1], generator=generator, dtype=some.dtype
            ).to(some)
        else:
            drawn = given.expand(len(rows), -1, -1)
        inside = drawn @ basis[rows].mT @ basis[rows]
        pushes = torch.cat([drawn - inside, inside], dim=1)
        unit = pushes / drawn.norm(dim=2).repeat(1, 2).unsqueeze(-1)
        length = unit.norm(dim=2, keepdim=True)
        unit = torch.where(length > NOTHING, unit / length, torch.nan)
        shares = _run(recurrence, some, x[rows], basis[rows], size * scale * unit)
        off.append(shares[:, :many])
        along.append(shares[:, many:])
    response = _response(torch.cat(off), pushed_off=True)
    if response is None:
        raise ShapeError("None of the directions given has a part off the manifold.")
    return Attraction(
        off=response,
        along=_response(torch.cat(along), pushed_off=False),
        size=size,
        scale=scale,
        manifold_dims=dims.cpu(),
    )


def _run(system: Map, states: Tensor, x: Tensor, basis: Tensor, pushes: Tensor) -> Tensor:
    """Parts of the distance off and along the manifold, as shares of the push.

    Parameters
    ----------
    states, x, basis, pushes : Tensor
        (points, n), (points, steps, input_dim), (points, k, n), (points, many, n).

    Returns
    -------
    Tensor
        (points, many, steps + 1, 2).
    """
    points, many = pushes.shape[:2]
    length = pushes.norm(dim=2)
    pushed = states.unsqueeze(1) + pushes
    every = torch.cat([states.unsqueeze(1), pushed], dim=1).flatten(0, 1)

    def shares(every: Tensor) -> Tensor:
        runs = every.unflatten(0, (points, many + 1))
        apart = runs[:, 1:] - runs[:, :1]
        inside = apart @ basis.mT
        outside = apart - inside @ basis
        parts = torch.stack([outside.norm(dim=2), inside.norm(dim=2)], dim=-1)
        share: Tensor = parts / length.unsqueeze(-1)
        return share

    out = [shares(every)]
    for u in x.unbind(1):
        every = system.step(every, u.repeat_interleave(many + 1, dim=0))
        out.append(shares(every))
    return torch.stack(out, dim=2)


def _response(shares: Tensor, *, pushed_off: bool) -> Response | None:
    """Leave out pushes that have no length: a direction given may lie in the manifold, or off it.

    None where no push is left.
    """
    happened = shares[:, :, 0].isfinite().all(-1)
    if not bool(happened.any()):
        return None
    point = torch.arange(len(shares), device=shares.device)[:, None].expand_as(happened)
    kept = shares[happened].nan_to_num(nan=torch.inf, posinf=torch.inf).cpu()
    return Response(kept[..., 0], kept[..., 1], pushed_off, point[happened].cpu())


def _inputs(
    system: Map,
    inputs: Tensor | None,
    states: Tensor,
    points: FixedPoints | Tensor,
    manifold: Tensor | None,
    steps: int | None,
) -> tuple[Tensor, int]:
    """What each point is given at every step, (points, steps, input_dim), and for how long."""
    if steps is not None and (isinstance(steps, bool) or steps < 1):
        raise ShapeError(f"steps={steps} must be 1 or more.")
    if inputs is None or inputs.dim() < 3:
        steps = STEPS if steps is None else steps
        held = held_input(system, inputs, states, points, "inputs")
        return held.unsqueeze(1).expand(-1, steps, -1), steps
    if inputs.shape[::2] != (len(states), system.input_dim) or inputs.shape[1] == 0:
        raise ShapeError(
            f"inputs have shape {tuple(inputs.shape)}; needed are sequences ({len(states)}, "
            f"steps, {system.input_dim}), or an input held."
        )
    if isinstance(points, FixedPoints) and manifold is None:
        raise ShapeError(
            "The slow directions of fixed points belong to the inputs held there; for sequences of "
            "inputs give manifold=, for example rec.pca(2).components."
        )
    if not bool(inputs.isfinite().all()):
        raise ShapeError("inputs hold NaN or Inf.")
    steps = inputs.shape[1] if steps is None else steps
    if steps > inputs.shape[1]:
        raise ShapeError(f"steps={steps}, but the sequences of inputs have {inputs.shape[1]}.")
    return inputs[:, :steps].detach().to(states), steps


def _basis(points: FixedPoints | Tensor, manifold: Tensor | None, states: Tensor) -> Tensor:
    """Orthonormal rows at each point, (points, k, n); rows of zeros where there are fewer."""
    count, n = states.shape
    if manifold is None:
        if isinstance(points, FixedPoints):
            return points.right.to(states)
        return states.new_zeros(count, 1, n)
    if manifold.dim() != 2 or manifold.shape[1] != n or len(manifold) == 0:
        raise ShapeError(
            f"manifold has shape {tuple(manifold.shape)}; needed are rows (k, {n}), for example "
            "rec.pca(k).components."
        )
    rows = manifold.detach().to(states)
    gram = rows @ rows.T
    worst = float((gram - torch.eye(len(rows)).to(gram)).abs().max())
    if not worst <= ORTHONORMAL:
        raise ShapeError(
            f"The rows of manifold are not orthonormal (rows @ rows.T is off by {worst:.1e}); "
            "torch.linalg.qr(rows.T).Q.T spans the same."
        )
    return rows.expand(count, -1, -1)


def _given(directions: int | Tensor, states: Tensor) -> Tensor | None:
    """The directions, (many, n), or None where they are to be drawn."""
    if not isinstance(directions, Tensor):
        if isinstance(directions, bool) or directions < 1:
            raise ShapeError(f"directions={directions} must be 1 or more, or rows to push along.")
        return None
    if directions.dim() != 2 or directions.shape[1] != states.shape[1] or len(directions) == 0:
        raise ShapeError(
            f"directions have shape {tuple(directions.shape)}; needed is (many, "
            f"{states.shape[1]}), or how many to draw."
        )
    if not bool((directions.isfinite().all(1) & directions.any(1)).all()):
        raise ShapeError("A direction is zero, or holds NaN or Inf.")
    return directions.detach().to(states)
