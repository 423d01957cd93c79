"""Cells that are called once per step: RNNCell, GRUCell, LSTMCell, and cells of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.errors import ShapeError
from dynprobe.recurrences.arguments import bound_arguments, parameter_names
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.observer import Call, Observer, Segment, zeros_state


class CellObserver(Observer):
    """Observer of a cell with the calling convention of torch.nn's cells.

    ``cell(x, state=None) -> state``, where a state of several parts is a tuple of tensors in the
    order of the recurrence's layout, each (batch, *part shape) or, unbatched, (*part shape,).

    Parameters
    ----------
    recurrence : type of Recurrence
        Its map, built from the module alone.
    """

    def __init__(self, recurrence: type[Recurrence]) -> None:
        self.recurrence = recurrence

    def recurrences(self, module: nn.Module) -> dict[str, Recurrence]:
        build: Any = self.recurrence
        return {"": build(module)}

    def how(self, module: nn.Module, suffix: str) -> str:
        return "the output is the state, one call per step"

    def observe(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Call:
        # by the names of its parameters, so that the order of keyword arguments does not matter
        values = list(args)
        if kwargs:
            given_by_name = bound_arguments(module, args, kwargs)
            values = [given_by_name.get(name) for name in parameter_names(module)]
        x: Tensor = values[0]
        given = values[1] if len(values) > 1 else None
        passed = _tensors(given)
        returned = _tensors(output)
        layout = self.recurrences(module)[""].layout
        if len(returned) != len(layout.parts):
            raise ShapeError(
                f"{type(module).__name__} returned {len(returned)} tensors for a state of "
                f"{len(layout.parts)} parts {layout}. Its registered recurrence and the cell "
                "must agree; register an Observer for another calling convention."
            )
        if x.dim() == 1:  # unbatched
            x = x.unsqueeze(0)
            passed = tuple(s.unsqueeze(0) for s in passed)
            returned = tuple(s.unsqueeze(0) for s in returned)
        h = returned[0].flatten(1)
        return Call(x.unsqueeze(1), h.unsqueeze(1), passed, returned, training=module.training)

    def recover(self, module: nn.Module, suffix: str, call: Call) -> Segment:
        state = torch.cat([s.flatten(1) for s in call.returned], dim=-1)
        initial = (
            torch.cat([s.flatten(1) for s in call.passed], dim=-1)
            if call.passed
            else zeros_state(call, state.shape[-1])
        )
        return Segment(state.unsqueeze(1), call.inputs, initial)


def _tensors(state: Any) -> tuple[Tensor, ...]:
    if state is None:
        return ()
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)
