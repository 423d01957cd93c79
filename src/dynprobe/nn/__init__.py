"""Models that dynprobe ships, for its demonstrations, examples and studies; linear attention."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dynprobe.nn.classifier import RNNClassifier
from dynprobe.nn.leaky import LeakyRNN, LeakyRNNCell
from dynprobe.nn.ugrnn import UGRNN, UGRNNCell

if TYPE_CHECKING:
    from dynprobe.nn.linear_attention import (
        FavorFeatures,
        causal_linear_attention,
        linear_attention_backend,
        linear_attention_step,
        noncausal_linear_attention,
    )

# Public name -> where it lives, imported on first use.
_LAZY = {
    "FavorFeatures": "dynprobe.nn.linear_attention",
    "causal_linear_attention": "dynprobe.nn.linear_attention",
    "linear_attention_backend": "dynprobe.nn.linear_attention",
    "linear_attention_step": "dynprobe.nn.linear_attention",
    "noncausal_linear_attention": "dynprobe.nn.linear_attention",
}

__all__ = [
    "UGRNN",
    "FavorFeatures",
    "LeakyRNN",
    "LeakyRNNCell",
    "RNNClassifier",
    "UGRNNCell",
    "causal_linear_attention",
    "linear_attention_backend",
    "linear_attention_step",
    "noncausal_linear_attention",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dynprobe.nn' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
