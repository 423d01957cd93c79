"""How a state vector is made of named parts: an LSTM's state is [h, c]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.errors import ShapeError, UnknownNameError, suggest


@dataclass(frozen=True)
class Layout:
    """Named parts of a flat state vector, in order.

    Parameters
    ----------
    parts : tuple of (name, shape)
        For example ``(("h", (64,)), ("c", (64,)))``. A part's shape is what
        :meth:`split` gives it back in; in the flat state it takes ``prod(shape)`` numbers.
    """

    parts: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, **parts: int | tuple[int, ...]) -> Layout:
        """Build a layout: ``Layout.of(h=64, c=64)``."""
        return cls(tuple((k, (v,) if isinstance(v, int) else tuple(v)) for k, v in parts.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parts, in order."""
        return tuple(name for name, _ in self.parts)

    @property
    def size(self) -> int:
        """Numbers in the whole state."""
        return sum(math.prod(shape) for _, shape in self.parts)

    def slice(self, name: str) -> slice:
        """Where the part lies in the flat state."""
        start = 0
        for part, shape in self.parts:
            stop = start + math.prod(shape)
            if part == name:
                return slice(start, stop)
            start = stop
        raise UnknownNameError(f"The state has no part {name!r}. {suggest(name, self.names)}")

    def split(self, state: Tensor) -> dict[str, Tensor]:
        """Cut (..., size) into {name: (..., *shape)}; views, no copies."""
        if state.shape[-1] != self.size:
            raise ShapeError(
                f"A state of this layout has {self.size} numbers ({self}), got {state.shape[-1]}."
            )
        return {n: state[..., self.slice(n)].unflatten(-1, shape) for n, shape in self.parts}

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Inverse of :meth:`split`."""
        return torch.cat([parts[n].flatten(-len(shape)) for n, shape in self.parts], dim=-1)

    def __str__(self) -> str:
        return "[" + ", ".join(f"{n}: {'x'.join(map(str, s))}" for n, s in self.parts) + "]"
