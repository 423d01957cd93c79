"""What differs between releases of transformers: where functions live, how a cache is read."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn


def owner_of(module: nn.Module, function: str) -> Any:
    """The Python module whose global `function` the mixer calls, or None.

    A subclass of a mixer that is defined elsewhere runs the forward of its parent, which looks
    its functions up in the parent's file.
    """
    for cls in type(module).__mro__:
        file = sys.modules.get(cls.__module__)
        if file is not None and hasattr(file, function) and "forward" in vars(cls):
            return file
    return None


def cached_state(cache: Any, layer: int) -> Tensor | None:
    """A copy of the recurrent state that a cache holds for a layer; None where it holds none.

    A copy, because caches are overwritten in place.
    """
    if cache is None:
        return None
    if hasattr(cache, "get_recurrent_state"):
        state = cache.get_recurrent_state(layer, state_idx=0)
    elif hasattr(cache, "has_previous_state") and cache.has_previous_state(layer):
        state = cache.layers[layer].recurrent_states
    else:
        state = getattr(cache, "recurrent_states", None)
        # releases before the shared cache: a list with one entry a layer
        state = state[layer] if isinstance(state, (list, tuple)) else None
    if isinstance(state, dict):
        state = state.get(0)
    return None if not isinstance(state, Tensor) else state.detach().clone()


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """(batch, time, width) with the steps zeroed that a (batch, time) mask leaves out."""
    if mask is None or mask.dim() != 2 or mask.shape[1] < x.shape[1]:
        return x
    return x * mask[:, -x.shape[1] :, None].to(x)


def unit(x: Tensor, eps: float = 1e-6) -> Tensor:
    """x / sqrt(|x|^2 + eps), as the delta-rule kernels normalise their keys."""
    x = x.float()
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + eps)
