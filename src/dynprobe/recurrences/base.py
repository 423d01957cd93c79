"""The recurrence protocol: what is the state, what is the map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from dynprobe.dynamics.affine import AffineMap
from dynprobe.dynamics.krylov import directional
from dynprobe.dynamics.maps import autograd_jacobian
from dynprobe.errors import ShapeError
from dynprobe.recurrences.layout import Layout

# Called as edit(state (batch, state_dim), t) after each step; returns the state to go on with.
Edit = Callable[[Tensor, int], Tensor]


class Recurrence(ABC):
    """A discrete-time dynamical system s' = F(s, x).

    A subclass says what the state is (`layout`), how wide the input is (`input_dim`) and what one
    step does (:meth:`step`); everything else has a default that a subclass may replace by a closed
    form. Satisfies :class:`dynprobe.dynamics.maps.Map`.

    Notes
    -----
    All shapes are batched: state ``(batch, state_dim)``, x ``(batch, input_dim)``. A step computes
    in the dtype of the state it is given, so that an analysis may run in float64 on a float32
    model; parameters are cast on the way, never in place (see :meth:`parameters_like`).
    """

    #: The version of this contract that the class is written for.
    api: ClassVar[int] = 1
    layout: Layout
    input_dim: int
    #: What the parameters belong to; None for a plain function.
    module: nn.Module | None = None

    @abstractmethod
    def step(self, state: Tensor, x: Tensor) -> Tensor:
        """One step of the system: F(state, x), ``(batch, state_dim)``."""

    @property
    def state_dim(self) -> int:
        """Width of the state."""
        return self.layout.size

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the model itself computes in."""
        return next((p.dtype for p in self._parameters()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next((p.device for p in self._parameters()), torch.device("cpu"))

    def _parameters(self) -> Iterable[Tensor]:
        return () if self.module is None else self.module.parameters()

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """dF/dstate, ``(batch, state_dim, state_dim)``."""
        return autograd_jacobian(lambda s: self.step(s, x), state)

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """dF/dx, ``(batch, state_dim, input_dim)``."""
        return autograd_jacobian(lambda u: self.step(state, u), x)

    def push(self, state: Tensor, x: Tensor, vectors: Tensor) -> Tensor:
        """Jacobian times vectors, without the Jacobian where that is cheaper.

        Parameters
        ----------
        vectors : Tensor
            ``(batch, k, state_dim)``, k directions at each state.

        Returns
        -------
        Tensor
            ``(batch, k, state_dim)``, dF/dstate v for each of them.
        """
        k = vectors.shape[1]
        if 4 * k >= self.state_dim:  # many directions: a closed form, or one backward for each row
            formed: Tensor = vectors @ self.jacobian(state, x).mT
            return formed
        at, held = (t.repeat_interleave(k, dim=0) for t in (state, x))
        product = directional(lambda s: self.step(s, held), at)
        pushed: Tensor = product(vectors.flatten(0, 1)).unflatten(0, (-1, k))
        return pushed

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        """A function that vanishes exactly where F(s, x) = s; by default F(s, x) - s.

        A gated cell overrides it with a form that a shut gate does not hide
        (GRU: n(s) - s instead of (1 - z)(n(s) - s)).
        """
        return self.step(state, x) - state

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """droot/dstate, ``(batch, state_dim, state_dim)``."""
        jacobian = self.jacobian(state, x)
        return jacobian - torch.eye(self.state_dim, dtype=jacobian.dtype, device=jacobian.device)

    def affine(self, x: Tensor) -> AffineMap | None:
        """The map F(., x) in closed form where it is affine in the state; None elsewhere.

        It knows its fixed point and spectrum without a search.
        """
        return None

    def bound(self, x: Tensor) -> Tensor | None:
        """Half-widths of a box that F(., x) maps into itself, ``(batch, state_dim)``, or None."""
        return None

    def rollout(self, state: Tensor, inputs: Tensor, edit: Edit | None = None) -> Tensor:
        """Run the system: states after each step.

        Parameters
        ----------
        state : Tensor
            (batch, state_dim), the state before the first input.
        inputs : Tensor
            (batch, time, input_dim).
        edit : callable, optional
            ``edit(state, t)`` is called after step t and returns the state to go on with; the
            edited state is what is returned and what the next step sees.

        Returns
        -------
        Tensor
            (batch, time, state_dim).
        """
        check_width(state, self.state_dim, "state")
        check_width(inputs, self.input_dim, "inputs")
        states = []
        for t, x in enumerate(inputs.unbind(1)):
            state = self.step(state, x)
            if edit is not None:
                state = edit(state, t)
            states.append(state)
        if not states:
            return state.new_empty(state.shape[0], 0, self.state_dim)
        return torch.stack(states, dim=1)

    def parameters_like(self, state: Tensor) -> dict[str, Tensor]:
        """Parameters and buffers of `module` in the dtype and on the device of `state`.

        For ``torch.func.functional_call``: the module itself is not touched. Integer buffers keep
        their dtype.
        """
        if self.module is None:
            return {}
        named = dict(self.module.named_parameters()) | dict(self.module.named_buffers())
        return {
            k: v.to(state.device, state.dtype if v.is_floating_point() else v.dtype)
            for k, v in named.items()
        }

    def call(self, *args: Tensor | tuple[Tensor, ...] | None) -> object:
        """Call `module` on `args` in their dtype, without changing the module."""
        assert self.module is not None, "call() needs a module"
        first = next(a for a in args if isinstance(a, Tensor))
        return torch.func.functional_call(self.module, self.parameters_like(first), args)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(state={self.layout}, input_dim={self.input_dim})"


def check_width(x: Tensor, width: int, what: str) -> None:
    """Raise ShapeError unless the last axis of `x` has `width` numbers."""
    if x.shape[-1] != width:
        raise ShapeError(
            f"{what} has width {x.shape[-1]}, but this recurrence expects {width}; "
            f"its full shape is {tuple(x.shape)}."
        )
