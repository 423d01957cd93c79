"""Linearisation at given points: eigenvalues, modes on both sides, time constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dynprobe.dynamics.fixed_points import FixedPoints
from dynprobe.dynamics.maps import Map
from dynprobe.dynamics.modes import (
    ILL_CONDITIONED,
    Stability,
    conditions,
    departure_from_normality,
    eigenmodes,
    stability,
    time_constants,
)
from dynprobe.errors import NonFiniteStatesError, ShapeError
from dynprobe.plain import plain

__all__ = ["PERCENTILES", "TOP_MODES", "Linearization", "linearize", "time_constants"]

#: Percentiles reported of a time constant over the points, and of how many of the slowest modes.
PERCENTILES = (10, 50, 90)
TOP_MODES = 8


@dataclass(frozen=True)
class Linearization:
    """s' = F(s*) + J (s - s*) + B (x - x*), decomposed into modes. Float64, on the CPU.

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
        input is ``left @ B @ x``. Not to be trusted where `ill_conditioned` is True.
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

    @property
    def selection(self) -> Tensor:
        """(points, n, input_dim), complex: left @ B, what each mode takes of an input."""
        return self.left @ self.input_jacobian.to(self.left.dtype)

    @property
    def condition(self) -> Tensor:
        """(points, n), condition of each eigenvalue: 1 at best, infinite where J is defective."""
        return conditions(self.left)

    @property
    def ill_conditioned(self) -> Tensor:
        """(points, n), True for modes that are not to be trusted one by one: `condition` > 1e6.

        J is defective there or nearly so: two modes are almost parallel. What they span together
        may still be well known.
        """
        return self.condition > ILL_CONDITIONED

    @property
    def departure(self) -> Tensor:
        """(points,), Henrici's departure from normality over |J|_F: 0 normal, 1 nilpotent."""
        size = self.jacobian.flatten(1).norm(dim=1)
        henrici = departure_from_normality(self.jacobian, self.eigenvalues)
        return torch.where(size > 0, henrici / size, 0.0)

    @property
    def spectral_radius(self) -> Tensor:
        """(points,), the largest magnitude of an eigenvalue."""
        return self.eigenvalues.abs().amax(1)

    @property
    def stability(self) -> Tensor:
        """(points,) of :class:`dynprobe.dynamics.modes.Stability`.

        Of the linear map: it says whether a fixed point attracts, and of a slow point only whether
        neighbouring states part from it.
        """
        return stability(self.eigenvalues)

    def percentiles(self, top: int = TOP_MODES, at: Sequence[float] = PERCENTILES) -> Tensor:
        """Percentiles over the points of the slowest time constants.

        Parameters
        ----------
        top : int
            How many modes, each point's own slowest first, growing or fading.
        at : sequence of float
            Between 0 and 100.

        Returns
        -------
        Tensor
            (modes, len(at)) in steps, each the value of a point (none is between two); NaN
            without points.
        """
        # at a saddle a mode of |lambda| = 1.2 is fast: not the order of the eigenvalues
        tau = self.time_constants.sort(dim=1, descending=True, stable=True).values[:, :top]
        if len(tau) == 0:
            return tau.new_full((tau.shape[1], len(at)), torch.nan)
        q = torch.tensor(at, dtype=torch.float64) / 100
        found: Tensor = torch.quantile(tau, q, dim=0, interpolation="nearest").T
        return found

    def __len__(self) -> int:
        """Number of points."""
        return len(self.states)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the matrices, ready for JSON: lists, and "inf" and "nan" as texts."""
        out: dict[str, Any] = {
            "states": self.states,
            "inputs": self.inputs,
            "eigenvalues_real": self.eigenvalues.real,
            "eigenvalues_imag": self.eigenvalues.imag,
            "time_constants": self.time_constants,
            "percentiles": {"at": PERCENTILES, "tau": self.percentiles()},
            "condition": self.condition,
            "departure": self.departure,
            "spectral_radius": self.spectral_radius,
            "stability": [Stability(s).name for s in self.stability.tolist()],
        }
        return {name: plain(value) for name, value in out.items()}

    def __repr__(self) -> str:
        kinds = self.stability.tolist()
        counts = ", ".join(f"{kinds.count(s)} {s.name.lower()}" for s in Stability)
        text = f"Linearization({len(self)} points, {self.states.shape[1]} modes: {counts}"
        if len(self):
            low, middle, high = self.percentiles(top=1)[0].tolist()
            text += f"; slowest tau {middle:.3g} steps (10 to 90 %: {low:.3g} to {high:.3g})"
        doubtful = int(self.ill_conditioned.any(1).sum())
        return text + (f"; ill-conditioned modes at {doubtful} points)" if doubtful else ")")


@torch.inference_mode(False)
@torch.no_grad()
def linearize(
    recurrence: Map, points: FixedPoints | ArrayLike, inputs: ArrayLike | None = None
) -> Linearization:
    """Linearise a recurrence at fixed points, or at any states.

    Parameters
    ----------
    recurrence : Recurrence
        The map. Its Jacobians are closed forms for the cells this package knows (``nn.RNN``,
        ``nn.GRU``, ``nn.LSTM`` with or without projection, their cells and stacks, ``UGRNN``,
        ``LeakyRNN``, maps that are affine in the state), and batched automatic differentiation
        for any other step.
    points : FixedPoints or array_like
        A search's result, with the inputs it held, or states (points, state_dim).
    inputs : array_like, optional
        With states: (input_dim,) or (points, input_dim); zero by default.

    Returns
    -------
    Linearization
        In float64, whatever the dtype of the model, which is not changed.

    Raises
    ------
    ShapeError
        If widths do not fit, or what is given makes no array of numbers.
    NonFiniteStatesError
        If the Jacobian of a point, by state or by input, is not finite.

    Examples
    --------
    >>> import torch, dynprobe
    >>> rnn = dynprobe.as_recurrence(lambda s, x: 0.5 * s + x, state_dim=2, input_dim=2)
    >>> dynprobe.linearize(rnn, torch.zeros(1, 2)).time_constants
    tensor([[1.4427, 1.4427]], dtype=torch.float64)
    """
    held: Tensor | None = None
    if isinstance(points, FixedPoints):
        if inputs is not None:
            raise ShapeError("These fixed points carry the inputs they were found at; give none.")
        states, held = points.states, points.inputs
    else:
        states = _numbers("states", points)
        if inputs is not None:
            held = _numbers("inputs", inputs)
    if states.dim() != 2 or states.shape[1] != recurrence.state_dim:
        raise ShapeError(
            f"states have shape {tuple(states.shape)}; needed is (points, {recurrence.state_dim})."
        )
    # clones: of tensors made in inference mode autograd takes none
    s = states.detach().to(recurrence.device, torch.float64).clone()
    if held is None:
        x = s.new_zeros(len(s), recurrence.input_dim)
    elif held.shape not in ((recurrence.input_dim,), (len(s), recurrence.input_dim)):
        raise ShapeError(
            f"inputs have shape {tuple(held.shape)}; the width of an input is "
            f"{recurrence.input_dim}: needed is ({recurrence.input_dim},), or one for each point "
            f"({len(s)}, {recurrence.input_dim})."
        )
    else:
        x = held.detach().to(s).clone().expand(len(s), recurrence.input_dim)
    jacobian = _finite("Jacobian", recurrence.jacobian(s, x))
    input_jacobian = _finite("input Jacobian", recurrence.input_jacobian(s, x))
    values, right, left = eigenmodes(jacobian)
    return Linearization(
        states=s.cpu(),
        inputs=x.cpu(),
        jacobian=jacobian,
        input_jacobian=input_jacobian,
        eigenvalues=values,
        right=right,
        left=left,
    )


def _numbers(what: str, given: ArrayLike) -> Tensor:
    """An array of real numbers; lists and numpy arrays keep the precision of float64."""
    if isinstance(given, Tensor):
        return given
    try:
        return torch.from_numpy(np.array(given, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ShapeError(
            f"{what} given as {type(given).__name__} make no array of numbers: {error}. Give a "
            "tensor, a numpy array, or rows of equal length."
        ) from error


def _finite(what: str, jacobian: Tensor) -> Tensor:
    """(points, ...) on the CPU, if all of it is finite."""
    found = jacobian.detach().cpu()
    finite = found.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise NonFiniteStatesError(
            f"The {what} at point {int((~finite).nonzero()[0])} holds NaN or Inf: its state or "
            "input is not finite, or the map is not differentiable there. Leave such points out."
        )
    return found
