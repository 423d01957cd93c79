"""Systems whose attractor is a line, a plane or a cycle, known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.geometry.subspaces import orthonormal
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.function import as_recurrence
from dynprobe.testing.systems import linear_system


@dataclass(frozen=True)
class Continuum:
    """The known answer of a line or plane attractor under zero input.

    Attributes
    ----------
    point : Tensor
        (n,), one of its fixed points.
    directions : Tensor
        (k, n) orthonormal rows; the fixed points are ``point + coordinates @ directions``.
    eigenvalues : Tensor
        (n,), of the map everywhere: 1 along the directions.
    """

    point: Tensor
    directions: Tensor
    eigenvalues: Tensor

    def states(self, coordinates: Tensor) -> Tensor:
        """Fixed points at (points, k) coordinates, (points, n)."""
        states: Tensor = self.point + coordinates @ self.directions
        return states

    def distance(self, states: Tensor) -> Tensor:
        """(points,), how far (points, n) states are from the continuum."""
        offset = states - self.point
        away: Tensor = offset - offset @ self.directions.T @ self.directions
        distance: Tensor = away.norm(dim=-1)
        return distance


def line_attractor(units: int = 8, *, seed: int = 0) -> tuple[Recurrence, Continuum]:
    """s' = A s + b + x with one eigenvalue 1: it keeps one number and forgets the others."""
    return _continuum(1, units, seed)


def plane_attractor(units: int = 8, *, seed: int = 0) -> tuple[Recurrence, Continuum]:
    """s' = A s + b + x with two eigenvalues 1: it keeps two numbers, in oblique directions."""
    return _continuum(2, units, seed)


def _continuum(k: int, units: int, seed: int) -> tuple[Recurrence, Continuum]:
    fading = torch.linspace(-0.5, 0.8, units - k).tolist()
    values = [1.0] * k + fading
    system, matrix, fixed = linear_system(values, seed=seed)
    _, sizes, rows = torch.linalg.svd(matrix - torch.eye(units, dtype=matrix.dtype))
    assert float(sizes[-k]) < 1e-10 < float(sizes[-k - 1])
    answer = Continuum(fixed, orthonormal(rows[-k:]), torch.tensor(values, dtype=torch.float64))
    return system, answer


@dataclass(frozen=True)
class LimitCycle:
    """The known answer of :func:`limit_cycle`, under zero input.

    Attributes
    ----------
    period : int
        Steps after which a state on the cycle is back.
    radius : float
        Of the cycle, a circle.
    plane : Tensor
        (2, n) orthonormal rows that span it.
    growth : float
        Modulus of the two eigenvalues at the origin, the only fixed point.
    angle : float
        Their angle, 2 pi / period.
    radial : float
        Factor by which a small deviation from the radius shrinks in one step.
    decay : float
        The same for deviations out of the plane.
    """

    period: int
    radius: float
    plane: Tensor
    growth: float
    angle: float
    radial: float
    decay: float

    def states(self, phases: Tensor) -> Tensor:
        """States on the cycle at (points,) phases, (points, n)."""
        circle = torch.stack([phases.cos(), phases.sin()], dim=-1)
        on_it: Tensor = self.radius * circle @ self.plane
        return on_it


def limit_cycle(
    units: int = 6,
    *,
    period: int = 12,
    radius: float = 1.0,
    growth: float = 1.2,
    decay: float = 0.5,
    seed: int = 0,
) -> tuple[Recurrence, LimitCycle]:
    """A stable cycle around an unstable origin, in a random plane of R^units.

    In polar coordinates of the plane r' = g r / (1 + (g - 1) (r / R)^2) and phi' = phi + 2 pi /
    period, so that dr'/dr at R is (2 - g) / g; all else decays. An input is added.

    Returns
    -------
    recurrence, answer
        With ``growth`` g > 1 the origin is the only fixed point and repels.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(units, units, generator=generator, dtype=torch.float64)
    basis, _ = torch.linalg.qr(drawn)
    plane = basis[:, :2].T.contiguous()
    angle = 2 * math.pi / period
    turn = torch.tensor(
        [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]],
        dtype=torch.float64,
    )

    def step(state: Tensor, x: Tensor) -> Tensor:
        rows, rotation = plane.to(state), turn.to(state)
        flat = state @ rows.T
        grown = growth / (1 + (growth - 1) * flat.square().sum(-1, keepdim=True) / radius**2)
        turned = grown * (flat @ rotation) @ rows
        out: Tensor = turned + decay * (state - flat @ rows) + x
        return out

    answer = LimitCycle(period, radius, plane, growth, angle, (2 - growth) / growth, decay)
    return as_recurrence(step, state_dim=units, input_dim=units), answer
