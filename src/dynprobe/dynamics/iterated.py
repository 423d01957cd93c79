"""A map applied k times, as a map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dynamics.maps import Map


@dataclass(frozen=True)
class IteratedMap:
    """F^k(., x): the same input at each of the k steps. Its fixed points are orbits of F.

    Satisfies :class:`dynprobe.dynamics.maps.Map`. A box that F maps into itself is one
    for F^k, too.

    Attributes
    ----------
    system : Map
        F.
    times : int
        k.
    """

    system: Map
    times: int

    @property
    def state_dim(self) -> int:
        return self.system.state_dim

    @property
    def input_dim(self) -> int:
        return self.system.input_dim

    @property
    def dtype(self) -> torch.dtype:
        return self.system.dtype

    @property
    def device(self) -> torch.device:
        return self.system.device

    def orbit(self, state: Tensor, x: Tensor) -> Tensor:
        """The states themselves and those after 1 to k - 1 steps, (batch, k, state_dim)."""
        states = [state]
        for _ in range(self.times - 1):
            states.append(self.system.step(states[-1], x))
        return torch.stack(states, dim=1)

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        for _ in range(self.times):
            state = self.system.step(state, x)
        return state

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """The product of the Jacobians along the orbit."""
        product = self.system.jacobian(state, x)
        for _ in range(self.times - 1):
            state = self.system.step(state, x)
            product = self.system.jacobian(state, x) @ product
        return product

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        total = self.system.input_jacobian(state, x)
        for _ in range(self.times - 1):
            state = self.system.step(state, x)
            onward = self.system.jacobian(state, x) @ total
            total = onward + self.system.input_jacobian(state, x)
        return total

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        """F^k(s) - s: a cell's own root form knows fixed points of F only."""
        return self.step(state, x) - state

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        jacobian = self.jacobian(state, x)
        return jacobian - torch.eye(self.state_dim, dtype=jacobian.dtype, device=jacobian.device)

    def affine(self, x: Tensor) -> None:
        """None: orbits of affine maps are not isolated, see :mod:`dynprobe.dynamics.periodic`."""

    def bound(self, x: Tensor) -> Tensor | None:
        return self.system.bound(x)
