"""Linearisation at given points: eigenvalues, modes on both sides, time constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynprobe.dynamics.fixed_points import FixedPoints
from dynprobe.dynamics.maps import Map
from dynprobe.errors import ShapeError


@dataclass(frozen=True)
class Linearization:
    """s' = F(s*) + J (s - s*) + B (x - x*), decomposed into modes; slowest first. Float64.

    Attributes
    ----------
    states, inputs : Tensor
        (points, state_dim) and (points, input_dim), where it was taken.
    jacobian : Tensor
        (points, n, n), J = dF/ds.
    input_jacobian : Tensor
        (points, n, input_dim), B = dF/dx.
    eigenvalues : Tensor
        (points, n), complex, by falling magnitude.
    right : Tensor
        (points, n, n), columns are right eigenvectors of unit norm.
    left : Tensor
        (points, n, n), rows are left eigenvectors, left @ right = I: what a mode selects of an
        input is ``left @ B @ x``.
    """

    states: Tensor
    inputs: Tensor
    jacobian: Tensor
    input_jacobian: Tensor
    eigenvalues: Tensor
    right: Tensor
    left: Tensor

    @property
    def time_constants(self) -> Tensor:
        """(points, n), tau = |1 / ln |lambda||, in steps; infinite on the unit circle."""
        return time_constants(self.eigenvalues)

    @property
    def periods(self) -> Tensor:
        """(points, n), 2 pi / |arg lambda| in steps; infinite for positive real eigenvalues."""
        return 2 * torch.pi / self.eigenvalues.angle().abs()

    def to_dict(self) -> dict[str, Any]:
        """Eigenvalues (real and imaginary parts) and time constants as plain lists."""
        return {
            "eigenvalues_real": self.eigenvalues.real.tolist(),
            "eigenvalues_imag": self.eigenvalues.imag.tolist(),
            "time_constants": self.time_constants.tolist(),
        }


def time_constants(eigenvalues: Tensor) -> Tensor:
    """tau = |1 / ln |lambda|| in steps (Maheswaranathan et al. 2019, section 3.3)."""
    return (1 / eigenvalues.abs().log()).abs()


@torch.no_grad()
def linearize(
    recurrence: Map, points: FixedPoints | Tensor, inputs: Tensor | None = None
) -> Linearization:
    """Linearise a recurrence at fixed points, or at any states.

    Parameters
    ----------
    recurrence : Recurrence
        The map.
    points : FixedPoints or Tensor
        A search's result, with the inputs it held, or states (points, state_dim).
    inputs : Tensor, optional
        With states: (input_dim,) or (points, input_dim); zero by default.

    Raises
    ------
    ShapeError
        If widths do not fit.
    """
    if isinstance(points, FixedPoints):
        if inputs is not None:
            raise ShapeError("These fixed points carry the inputs they were found at; give none.")
        states, inputs = points.states, points.inputs
    else:
        states = points
    if states.dim() != 2 or states.shape[1] != recurrence.state_dim:
        raise ShapeError(
            f"states have shape {tuple(states.shape)}; needed is (points, {recurrence.state_dim})."
        )
    s = states.detach().to(recurrence.device, torch.float64)
    if inputs is None:
        x = s.new_zeros(len(s), recurrence.input_dim)
    elif inputs.shape[-1:] != (recurrence.input_dim,):
        raise ShapeError(
            f"inputs have shape {tuple(inputs.shape)}; the width of an input is "
            f"{recurrence.input_dim}."
        )
    else:
        x = inputs.detach().to(s).expand(len(s), recurrence.input_dim)
    jac = recurrence.jacobian(s, x).detach().cpu()
    values, vectors = torch.linalg.eig(jac)
    order = values.abs().argsort(dim=1, descending=True, stable=True)
    values = values.gather(1, order)
    right = vectors.gather(2, order[:, None, :].expand_as(vectors))
    return Linearization(
        states=s.cpu(),
        inputs=x.cpu(),
        jacobian=jac,
        input_jacobian=recurrence.input_jacobian(s, x).detach().cpu(),
        eigenvalues=values,
        right=right,
        left=_inverse(right),
    )


def _inverse(matrix: Tensor) -> Tensor:
    """Batched inverse by QR.

    Not by LU: batched LU gives wrong numbers or fails on CPU with several threads (seen with torch
    2.13, from 160 rows on). Defective matrices give large entries, not an error.
    """
    q, r = torch.linalg.qr(matrix)
    inverse: Tensor = torch.linalg.solve_triangular(r, q.mH, upper=True)
    return inverse
