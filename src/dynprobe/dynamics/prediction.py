"""How far ahead a linearisation foresees the states of the map itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dynamics.linearization import Linearization
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.rounding import relative, root_mean_square, rounding_level


@dataclass(frozen=True)
class PredictionError:
    """Root mean square errors of the linear model, by how many steps it ran.

    Attributes
    ----------
    steps : tuple of int
        k.
    of_movement : Tensor
        (len(steps),), error over the movement |s_(t+k) - s_t|: 1 is no better than to predict that
        nothing moves. NaN where nothing does, up to rounding.
    of_state : Tensor
        (len(steps),), error over the distance |s_(t+k) - mean state|; NaN where all states are one.
    n_starts : Tensor
        (len(steps),), trajectories long enough to be compared.
    """

    steps: tuple[int, ...]
    of_movement: Tensor
    of_state: Tensor
    n_starts: Tensor


def horizons(longest: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50, ... up to `longest`."""
    out, decade = [], 1
    while decade <= longest:
        out += [m * decade for m in (1, 2, 5) if m * decade <= longest]
        decade *= 10
    return tuple(out)


@torch.no_grad()
def prediction_error(
    system: Map, lin: Linearization, states: Tensor, inputs: Tensor, lengths: Tensor
) -> PredictionError:
    """Run the linear model from visited states, with the inputs that came, and compare.

    From s_t the model of the nearest point s* is iterated,
    s' = F(s*, x*) + J (s - s*) + B (x - x*), and stays with that point: it is one linear system,
    judged on how long it holds.

    Parameters
    ----------
    system : Map
        The map that was linearised: F(s*, x*) is asked of it once.
    states : Tensor
        (starts, time + 1, n), the state at the start and those that followed.
    inputs : Tensor
        (starts, time, input_dim), inputs[:, j] led from states[:, j] to states[:, j + 1].
    lengths : Tensor
        (starts,), how many steps are valid, at most `time`.
    """
    s, x = (v.to("cpu", torch.float64) for v in (states, inputs))
    at, held = lin.states.to(system.device), lin.inputs.to(system.device)
    landing = system.step(at, held).cpu()
    nearest = torch.cdist(s[:, 0], lin.states).argmin(1)
    groups = [(p, (nearest == p).nonzero().flatten()) for p in nearest.unique().tolist()]
    valid = torch.arange(s.shape[1]) <= lengths.cpu()[:, None]
    mean = s[valid].mean(0)
    level = rounding_level(root_mean_square(s[valid]), states.dtype, system.dtype)
    steps = horizons(int(lengths.max()) if len(lengths) else 0)
    predicted = s[:, 0].clone()
    rows = []
    for k in range(1, max(steps, default=0) + 1):
        for p, of in groups:
            ds, dx = predicted[of] - lin.states[p], x[of, k - 1] - lin.inputs[p]
            predicted[of] = landing[p] + ds @ lin.jacobian[p].T + dx @ lin.input_jacobian[p].T
        if k in steps:
            of = valid[:, k].nonzero().flatten()
            now = s[of, k]
            error, moved, away = map(
                root_mean_square, (predicted[of] - now, now - s[of, 0], now - mean)
            )
            shares = relative(error, moved, level), relative(error, away, level)
            rows.append((*map(float, shares), len(of)))
    of_movement, of_state, n = zip(*rows, strict=True) if rows else ((), (), ())
    return PredictionError(
        steps,
        torch.tensor(of_movement, dtype=torch.float64),
        torch.tensor(of_state, dtype=torch.float64),
        torch.tensor(n, dtype=torch.int64),
    )
