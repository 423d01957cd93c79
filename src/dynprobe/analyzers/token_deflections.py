"""Where each token pushes the state: recorded, by the map itself, by its linearisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.by_token import ByToken, token_names
from dynprobe.analyzers.results import Result
from dynprobe.analyzers.slow_modes import SlowModes
from dynprobe.dynamics.linearization import Linearization
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.rounding import relative, root_mean_square, rounding_level
from dynprobe.recording import Recording


@dataclass(frozen=True)
class Deflections(Result):
    """Mean push of each token, on the first two principal components of the visited states.

    Attributes
    ----------
    tokens : tuple of str
        Names of the tokens, most frequent first.
    counts : Tensor
        (tokens,) occurrences.
    visited : Tensor
        (tokens, 2), mean of s_t - s_{t-1} over the recorded steps with this token.
    visited_length : Tensor
        (tokens,), norm of the mean deflection in the full space.
    exact : Tensor
        (tokens, 2), mean over fixed and slow points s* of F(s*, x_token) - s*.
    linear : Tensor
        (tokens, 2), mean over the same points of J_inp (x_token - x*).
    selected : Tensor
        (tokens, 2), what the slow modes take of it: mean of P J_inp (x_token - x*), with P their
        spectral projector (the sum of r_a l_a^T), which does not depend on how modes are scaled.
        Fast modes are gone from it; NaN where no point has such a projector.
    exact_length, linear_length, selected_length : Tensor
        (tokens,), norms of these means in the full space.
    selection : Tensor
        (tokens, modes), mean of |l_a^T J_inp (x_token - x*)| of each slow mode, by falling
        |lambda|, with unit r_a: the push along each mode.
    linear_error : Tensor
        (tokens,), mean of |linear - exact| over that of |exact|, in the full space; NaN for a
        token that moves none of the points, up to rounding.
    """

    tokens: tuple[str, ...]
    counts: Tensor
    visited: Tensor
    visited_length: Tensor
    exact: Tensor
    linear: Tensor
    selected: Tensor
    exact_length: Tensor
    linear_length: Tensor
    selected_length: Tensor
    selection: Tensor
    linear_error: Tensor


def deflections(
    recurrence: Map,
    rec: Recording,
    lin: Linearization,
    slow: SlowModes,
    plane: Tensor,
    n_tokens: int,
) -> Deflections | None:
    """Measure the push of the most frequent tokens; None where tokens or inputs are unknown.

    Parameters
    ----------
    lin, slow : Linearization, SlowModes
        Of the points where the push is measured.
    plane : Tensor
        (2, n), the first two principal components.
    """
    if rec.tokens is None or rec.inputs is None:
        return None
    ids, counts, steps, inputs = _by_token(rec, n_tokens)
    if len(ids) == 0:
        return None
    known = [i for i, p in enumerate(slow.projectors) if p is not None]
    select = torch.stack([p for p in slow.projectors if p is not None]) if known else None
    by_mode = lin.selection[:, : slow.k]
    level = rounding_level(root_mean_square(lin.states), recurrence.dtype)
    at = lin.states.to(recurrence.device)
    exact, linear, selected, selection, error = [], [], [], [], []
    for x in inputs:
        held = x.to(at).expand(len(at), -1)
        moved = (recurrence.step(at, held) - at).cpu()
        offset = (x.cpu() - lin.inputs).unsqueeze(-1)
        push = (lin.input_jacobian @ offset).squeeze(-1)
        exact.append(moved.mean(0))
        linear.append(push.mean(0))
        if select is None:
            selected.append(torch.full_like(push[0], torch.nan))
        else:
            selected.append((select @ push[known].unsqueeze(-1)).squeeze(-1).mean(0))
        selection.append((by_mode @ offset.to(by_mode.dtype)).squeeze(-1).abs().mean(0))
        error.append(relative((push - moved).norm(dim=1).mean(), moved.norm(dim=1).mean(), level))
    of_points = {"exact": exact, "linear": linear, "selected": selected}
    means = {name: torch.stack(pushes) for name, pushes in of_points.items()}
    return Deflections(
        tokens=token_names(ids, rec.meta.vocabulary),
        counts=counts,
        visited=steps @ plane.T,
        visited_length=steps.norm(dim=1),
        exact=means["exact"] @ plane.T,
        linear=means["linear"] @ plane.T,
        selected=means["selected"] @ plane.T,
        exact_length=means["exact"].norm(dim=1),
        linear_length=means["linear"].norm(dim=1),
        selected_length=means["selected"].norm(dim=1),
        selection=torch.stack(selection),
        linear_error=torch.stack(error),
    )


def _by_token(rec: Recording, n_tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the most frequent tokens: ids, counts, mean step (tokens, n), mean input (tokens, m)."""
    assert rec.inputs is not None
    tokens = ByToken.of(rec)
    top = tokens.counts.argsort(descending=True, stable=True)[:n_tokens]
    steps, inputs = tokens.mean(rec.states - rec.before), tokens.mean(rec.inputs)
    return tokens.ids[top], tokens.counts[top], steps[top], inputs[top]
