"""The slow modes at each point: which, what they span, what projects on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dynamics.ablation import modal_projector
from dynprobe.dynamics.linearization import Linearization
from dynprobe.dynamics.modes import longest_lasting
from dynprobe.errors import ShapeError
from dynprobe.geometry.subspaces import orthonormal


@dataclass(frozen=True)
class SlowModes:
    """The k modes of every point that are forgotten last: of largest |lambda|, growing ones first.

    The one meaning of "slow modes" in results and reports, those of the causal test included; why
    not by tau says :func:`dynprobe.dynamics.modes.longest_lasting`. At a saddle between attractors
    the growing mode leads from one to the other, however short its tau.

    Attributes
    ----------
    k : int
        They are the first k of the :class:`Linearization`.
    spans : list of Tensor
        At each point, (k, n) orthonormal rows. A complex pair spans a plane; where the cut falls
        inside a pair, its first half counts.
    projectors : list of Tensor or None
        (n, n), spectral projectors; where the cut falls inside a pair, the whole pair is in. None
        where the modes are defective and cannot be told from the others.
    """

    k: int
    spans: list[Tensor]
    projectors: list[Tensor | None]


def slow_modes(lin: Linearization, k: int) -> SlowModes:
    """Find the k slow modes of every point."""
    whole = [longest_lasting(values, k) for values in lin.eigenvalues]
    return SlowModes(
        k,
        [_span(right, k) for right in lin.right],
        [
            projector_or_none(r.T[i], left[i])
            for r, left, i in zip(lin.right, lin.left, whole, strict=True)
        ],
    )


def projector_or_none(right: Tensor, left: Tensor) -> Tensor | None:
    """The spectral projector of modes (k, n), or None where there is none."""
    try:
        return modal_projector(right, left)
    except ShapeError:
        return None


def _span(right: Tensor, k: int) -> Tensor:
    """An orthonormal basis (k, n) of the span of the first k modes, columns of `right`."""
    rows = torch.stack([right.real.T, right.imag.T], dim=1).flatten(0, 1)
    norms = rows.norm(dim=1)
    return orthonormal(_independent(rows[norms > 1e-12], k))


def _independent(rows: Tensor, k: int) -> Tensor:
    """The first k rows that are not in the span of those before (conjugates repeat a plane)."""
    kept: list[Tensor] = []
    for row in rows:
        left = row.clone()
        for other in kept:
            left = left - (left @ other) * other
        if float(left.norm()) > 1e-6 * float(row.norm()):
            kept.append(left / left.norm())
        if len(kept) == k:
            break
    return torch.stack(kept)
