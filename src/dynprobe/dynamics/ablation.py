"""Does the network use these directions? Run it with nothing else, and without them.

A subspace is kept or removed at every step around an origin o: with a projector P on it,

    keep    s -> o + P (s - o)
    remove  s -> s - P (s - o)

Two projectors can be meant. With rows V spanning the right modes and W the left ones,

    orthogonal  P = V^T (V V^T)^-1 V      the state has no component along any slow direction
    oblique     P = V^T (W V^T)^-1 W      the amplitudes l_a^T (s - o) are 0; others are untouched

The oblique one is the spectral projector: it commutes with J, and for a linear system it is the
right one, since the shadow of a fast mode on a slow direction is no memory. But it is right only as
far as the linearisation holds. Of a non-normal Jacobian its norm is above 1, and it takes whatever
the manifold's curvature adds far from o for an amplitude, multiplied. The orthogonal one never
lengthens anything, is fairly compared with random directions, and exists where modes are defective.
So the orthogonal one is what the analyzer uses unless told otherwise; of a normal Jacobian the two
are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from dynprobe.dynamics.modes import real_rows
from dynprobe.errors import ShapeError
from dynprobe.geometry.subspaces import orthonormal

Mode = Literal["keep", "remove"]


class Rolls(Protocol):
    """What can be run over inputs with an edit after each step, as a Recurrence can."""

    def rollout(
        self, state: Tensor, inputs: Tensor, edit: Callable[[Tensor, int], Tensor] | None = None
    ) -> Tensor:
        """(batch, n), (batch, time, m) -> states after each step, (batch, time, n)."""


def modal_projector(right: Tensor, left: Tensor) -> Tensor:
    """The spectral projector of some modes, which come in whole conjugate pairs.

    Parameters
    ----------
    right : Tensor
        (k, n), right modes as rows, complex. A pair counts by its real and imaginary parts, which
        span the same plane.
    left : Tensor
        (k, n), the left modes of the same eigenvalues, however normalised.

    Returns
    -------
    Tensor
        (n, n), real, of rank k.
    """
    return oblique_projector(orthonormal(real_rows(right)), orthonormal(real_rows(left)))


def oblique_projector(basis: Tensor, dual: Tensor) -> Tensor:
    """P = V^T (W V^T)^-1 W: onto the rows of `basis`, blind to what is orthogonal to `dual`.

    Parameters
    ----------
    basis : Tensor
        V (k, n), rows spanning the range.
    dual : Tensor
        W (k, n), rows whose orthogonal complement is the null space; V itself gives the orthogonal
        projector.

    Raises
    ------
    ShapeError
        If the two are not of one shape, or there is no such projector: a direction of the range
        is orthogonal to all of `dual`, as the right mode of a defective eigenvalue is to the left.
    """
    if basis.shape != dual.shape:
        raise ShapeError(
            f"basis and dual span {tuple(basis.shape)} and {tuple(dual.shape)}; a projector needs "
            "as many directions of one as of the other."
        )
    overlap = dual @ basis.T
    sizes = dual.norm(dim=1).amax() * basis.norm(dim=1).amax()
    if not bool(overlap.isfinite().all()) or torch.linalg.svdvals(overlap)[-1] <= 1e-12 * sizes:
        raise ShapeError(
            "Some direction of the basis is orthogonal to the whole dual: the modes are defective, "
            "and no projector separates them from the rest. Take more modes, so that all of a "
            "defective eigenvalue are among them, or another point."
        )
    projector: Tensor = basis.T @ torch.linalg.solve(overlap, dual)
    return projector


def rotated(projector: Tensor, *, seed: int) -> Tensor:
    """Q P Q^T with a random rotation Q: random directions of the same rank.

    The control for P: it is as oblique, and of the same norm, but knows nothing of the network.
    """
    n = len(projector)
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()  # without which Q would not be uniform over rotations
    q = q.to(projector)
    out: Tensor = q @ projector @ q.T
    return out


def edit_of(projector: Tensor, origin: Tensor, mode: Mode) -> Callable[[Tensor, int], Tensor]:
    """The edit that keeps or removes a subspace around an origin, for ``rollout(edit=)``.

    Parameters
    ----------
    projector : Tensor
        (n, n).
    origin : Tensor
        (n,), a fixed point or a mean state.
    mode : {"keep", "remove"}
        See the module.
    """
    if mode not in ("keep", "remove"):
        raise ValueError(f"mode is {mode!r}; it is 'keep' or 'remove'.")

    def edit(state: Tensor, _: int) -> Tensor:
        o = origin.to(state)
        inside = (state - o) @ projector.to(state).T
        return o + inside if mode == "keep" else state - inside

    return edit


def ablated_rollout(
    system: Rolls,
    state: Tensor,
    inputs: Tensor,
    projector: Tensor,
    origin: Tensor,
    mode: Mode,
) -> Tensor:
    """Run a system with a subspace kept or removed after every step.

    Parameters
    ----------
    system : Recurrence
        Anything with ``rollout(state, inputs, edit)``.
    state, inputs : Tensor
        (batch, n) and (batch, time, input_dim). The state before the first step is not edited.
    projector, origin, mode
        As in :func:`edit_of`.

    Returns
    -------
    Tensor
        (batch, time, n), edited states.
    """
    return system.rollout(state, inputs, edit_of(projector, origin, mode))
