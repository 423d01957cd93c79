"""What lies in the cache of a Hugging Face model, whatever its class.

A cache is read by what its tensors are called: recurrent states are found under a few names, all
else (keys, values, counters) is what a step takes as given.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynprobe.errors import ShapeError

Path = tuple[str | int, ...]

# What a recurrent tensor is called in a cache, and what its part of the state is called.
_RECURRENT = {
    "conv_states": "conv",
    "recurrent_states": "recurrent",
    "ssm_states": "recurrent",
    "rnn_state": "rnn",
    "linear_cache": "linear",
}


def rebuilt(cache: Any, on_tensor: Callable[[Path, Tensor], Tensor]) -> Any:
    """A copy of a cache, its layers and containers, with each tensor replaced."""
    objects = {id(cache), *map(id, getattr(cache, "layers", ()))}

    def visit(node: Any, path: Path) -> Any:
        if isinstance(node, Tensor):
            return on_tensor(path, node)
        if isinstance(node, dict):
            return {k: visit(v, (*path, k)) for k, v in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(visit(v, (*path, i)) for i, v in enumerate(node))
        if id(node) in objects:
            new = copy.copy(node)
            new.__dict__.update({k: visit(v, (*path, k)) for k, v in vars(node).items()})
            return new
        return node

    return visit(cache, ())


def tensors_of(cache: Any) -> dict[Path, Tensor]:
    """Every tensor in a cache by its path."""
    found: dict[Path, Tensor] = {}

    def note(path: Path, t: Tensor) -> Tensor:
        found[path] = t
        return t

    rebuilt(cache, note)
    return found


def recurrent_parts(cache: Any) -> dict[Path, str]:
    """Recurrent tensors by path, and the names of their parts of the state.

    ("layers", 0, "conv_states", 0) is "layers.0.conv", or "layers.0.conv.0" beside another.
    """
    found = tensors_of(cache)
    parts = {}
    for path, t in found.items():
        if not _is_recurrent(path, t):
            continue
        alone = path[-2:-1] and path[-2] in _RECURRENT and (*path[:-1], 1) not in found
        shown = path[:-1] if alone and len(path) > 2 else path
        parts[path] = ".".join(_RECURRENT.get(str(step), str(step)) for step in shown)
    return parts


def _is_recurrent(path: Path, t: Tensor) -> bool:
    return t.is_floating_point() and any(step in _RECURRENT for step in path)


def emptied(cache: Any) -> Any:
    """A copy with recurrent states at zero and without keys and values."""
    new = rebuilt(cache, lambda path, t: torch.zeros_like(t) if _is_recurrent(path, t) else t)
    for layer in attention_layers(new):
        layer.keys = layer.values = None
        layer.is_initialized = False
        if hasattr(layer, "cumulative_length"):
            layer.cumulative_length = 0
    return new


def attention_layers(cache: Any) -> list[Any]:
    """The cache's layers that can hold keys and values."""
    return [layer for layer in getattr(cache, "layers", ()) if hasattr(layer, "keys")]


def length_of(cache: Any) -> int:
    """Tokens that the attention layers of a cache have seen; 0 without any."""
    return max((int(layer.get_seq_length()) for layer in attention_layers(cache)), default=0)


def expanded(held: Tensor, batch: int) -> Tensor:
    """One row for each of `batch` states, of what a context holds for one or for each."""
    if held.shape[0] not in (1, batch):
        raise ShapeError(
            f"The context holds {held.shape[0]} sequences, but there are {batch} states: give a "
            "context of one sequence, or one state for each of its sequences."
        )
    return held.expand(batch, *held.shape[1:])
