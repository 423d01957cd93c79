"""The layers of one nn.RNN, nn.GRU or nn.LSTM as one map.

In one time step layer l sees the *new* state of layer l - 1, so the joint Jacobian is block lower
triangular: its spectrum is that of the layers, each taken at its own input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from dynprobe.dynamics.maps import autograd_jacobian
from dynprobe.errors import JointMapError
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.gated import GatedRecurrence
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.torch_layers import TorchLayerObserver


class StackRecurrence(Recurrence):
    """All layers of a recurrent module; state parts are "l0.h", "l0.c", "l1.h", ...

    This is the map of evaluation mode: dropout between the layers is left out.

    Parameters
    ----------
    module : nn.RNN, nn.GRU or nn.LSTM
        It owns the parameters; they are read at each step.
    layers : sequence of GatedRecurrence
        The map of each layer, from the one that sees the input upwards.
    """

    module: nn.Module

    def __init__(self, module: nn.Module, layers: Sequence[GatedRecurrence]) -> None:
        self.module = module
        self.layers = tuple(layers)
        self.input_dim = self.layers[0].input_dim
        self.layout = Layout(
            tuple(
                (f"l{i}.{name}", shape)
                for i, layer in enumerate(self.layers)
                for name, shape in layer.layout.parts
            )
        )

    def _pass(self, state: Tensor, x: Tensor) -> Iterator[tuple[GatedRecurrence, Tensor, Tensor]]:
        """Each layer with its state and the input it sees in this step, bottom first."""
        start = 0
        for layer in self.layers:
            own = state[..., start : start + layer.state_dim]
            start += layer.state_dim
            yield layer, own, x
            x = layer.step(own, x)[..., layer.layout.slice("h")]

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        return torch.cat([layer.step(own, u) for layer, own, u in self._pass(state, x)], dim=-1)

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """Block row l is B_l (rows of h in block row l - 1), and A_l on the diagonal.

        A_l and B_l are the Jacobians of layer l by its state and by its input.
        """
        rows, start = [], 0
        handed = state.new_zeros(state.shape[0], self.input_dim, self.state_dim)  # dx / dstate
        for layer, own, u in self._pass(state, x):
            row = layer.input_jacobian(own, u) @ handed
            row[..., start : start + layer.state_dim] += layer.jacobian(own, u)
            start += layer.state_dim
            handed = row[..., layer.layout.slice("h"), :]
            rows.append(row)
        return torch.cat(rows, dim=-2)

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        rows = []
        handed = torch.eye(self.input_dim, dtype=state.dtype, device=state.device)
        for layer, own, u in self._pass(state, x):
            rows.append(layer.input_jacobian(own, u) @ handed)
            handed = rows[-1][..., layer.layout.slice("h"), :]
        return torch.cat(rows, dim=-2)

    def root(self, state: Tensor, x: Tensor) -> Tensor:
        """The layers' own root forms: they vanish together exactly at the fixed points."""
        return torch.cat([layer.root(own, u) for layer, own, u in self._pass(state, x)], dim=-1)

    def root_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        jacobian = self.jacobian(state, x)
        rows, start = [], 0
        handed = state.new_zeros(state.shape[0], self.input_dim, self.state_dim)
        for layer, own, u in self._pass(state, x):
            here = slice(start, start + layer.state_dim)
            row = _root_input_jacobian(layer, own, u) @ handed
            row[..., here] += layer.root_jacobian(own, u)
            start = here.stop
            handed = jacobian[..., here, :][..., layer.layout.slice("h"), :]
            rows.append(row)
        return torch.cat(rows, dim=-2)

    def bound(self, x: Tensor) -> Tensor | None:
        """Box of the lowest layer at this input, and of each above for all the one below can do."""
        bounds: list[Tensor] = []
        for layer in self.layers:
            if bounds:
                below = self.layers[len(bounds) - 1]
                bound = layer.bound_over(bounds[-1][..., below.layout.slice("h")])
            else:
                bound = layer.bound(x)
            if bound is None:
                return None
            bounds.append(bound)
        return torch.cat(bounds, dim=-1)

    def __repr__(self) -> str:
        return (
            f"StackRecurrence({type(self.module).__name__} of {len(self.layers)} layers in eval "
            f"mode, without dropout; state={self.layout}, input_dim={self.input_dim})"
        )


def _root_input_jacobian(layer: GatedRecurrence, state: Tensor, x: Tensor) -> Tensor:
    if type(layer).root is Recurrence.root:  # F(s, x) - s
        return layer.input_jacobian(state, x)
    return autograd_jacobian(lambda u: layer.root(state, u), x)


def stack(module: nn.RNNBase) -> Recurrence:
    """The joint map of all layers of `module`; with one layer, the map of that layer.

    Raises
    ------
    JointMapError
        For a bidirectional module.
    """
    if module.bidirectional:
        raise JointMapError(
            f"This {type(module).__name__} is bidirectional, and a bidirectional layer has no "
            "joint causal map: its reverse direction starts at the last token, so no state after "
            "one token follows from the state before it. Each direction of the lowest layer is a "
            "map of its own (keys ending in l0 and l0.reverse); a map of your own goes in by "
            'probe.recurrence("all", step=...).'
        )
    layers = TorchLayerObserver().recurrences(module).values()
    gated = [layer for layer in layers if isinstance(layer, GatedRecurrence)]
    return gated[0] if len(gated) == 1 else StackRecurrence(module, gated)
