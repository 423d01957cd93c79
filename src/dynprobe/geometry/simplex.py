"""Readout geometry: whether the readouts of N classes point to the corners of a simplex.

In a simplex (a triangle for 3 classes) all norms are equal, every pair meets at
arccos(-1 / (N - 1)), and each vector lies in the span of the others (Aitken et al. 2020,
arXiv 2010.15114, section 3.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.geometry.subspaces import orthonormal, share_inside


@dataclass(frozen=True)
class ReadoutGeometry:
    """Norms and angles of readout vectors.

    Attributes
    ----------
    norms : Tensor
        (classes,).
    angles : Tensor
        (classes, classes), degrees.
    simplex_angle : float
        arccos(-1 / (N - 1)) in degrees: what a simplex has; 180 for two classes.
    norm_in_span : Tensor
        (classes,), share of each vector's norm inside the span of the others, 1 in a simplex.
    """

    norms: Tensor
    angles: Tensor
    simplex_angle: float
    norm_in_span: Tensor

    @property
    def pair_angles(self) -> Tensor:
        """(pairs,), the angle of each pair i < j, degrees."""
        i, j = torch.triu_indices(len(self.angles), len(self.angles), offset=1)
        return self.angles[i, j]


def readout_geometry(weight: Tensor) -> ReadoutGeometry:
    """Measure the readout vectors of N >= 2 classes, (classes, n), as they are (not centred)."""
    w = weight.detach().to("cpu", torch.float64)
    n = len(w)
    norms = w.norm(dim=1)
    unit = w / norms.clamp(min=torch.finfo(torch.float64).tiny)[:, None]
    angles = torch.rad2deg(torch.arccos((unit @ unit.T).clamp(-1, 1)))
    inside = torch.stack(
        [
            share_inside(unit[i : i + 1], orthonormal(unit[torch.arange(n) != i]))[0]
            for i in range(n)
        ]
    ).sqrt()
    simplex = math.degrees(math.acos(-1 / (n - 1))) if n > 1 else math.nan
    return ReadoutGeometry(norms, angles.fill_diagonal_(0), simplex, inside)
