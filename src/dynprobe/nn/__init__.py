"""Models that dynprobe ships: recurrent networks, linear attention and its transformer, Mamba-1."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dynprobe.nn.classifier import RNNClassifier
from dynprobe.nn.leaky import LeakyRNN, LeakyRNNCell
from dynprobe.nn.reset_first_gru import ResetFirstGRU, ResetFirstGRUCell
from dynprobe.nn.ugrnn import UGRNN, UGRNNCell

if TYPE_CHECKING:
    from dynprobe.nn.linear_attention import (
        FavorFeatures,
        causal_linear_attention,
        linear_attention_backend,
        linear_attention_step,
        noncausal_linear_attention,
    )
    from dynprobe.nn.linear_transformer import (
        LinearTransformer,
        LinearTransformerCache,
        LinearTransformerConfig,
        LinearTransformerForCausalLM,
        LinearTransformerForSequenceClassification,
        LinearTransformerModel,
    )
    from dynprobe.nn.mamba import MambaClassifier, MambaMixer, selective_scan
    from dynprobe.nn.mamba.huggingface import TransformersMambaClassifier

# Public name -> where it lives, imported on first use: the kernels cost little, but the
# transformers models cost the import of transformers, several seconds.
_ATTENTION, _TRANSFORMER = "dynprobe.nn.linear_attention", "dynprobe.nn.linear_transformer"
_MAMBA = "dynprobe.nn.mamba"
_LAZY = {
    "FavorFeatures": _ATTENTION,
    "LinearTransformer": _TRANSFORMER,
    "LinearTransformerCache": _TRANSFORMER,
    "LinearTransformerConfig": _TRANSFORMER,
    "LinearTransformerForCausalLM": _TRANSFORMER,
    "LinearTransformerForSequenceClassification": _TRANSFORMER,
    "LinearTransformerModel": _TRANSFORMER,
    "MambaClassifier": _MAMBA,
    "MambaMixer": _MAMBA,
    "TransformersMambaClassifier": f"{_MAMBA}.huggingface",
    "causal_linear_attention": _ATTENTION,
    "linear_attention_backend": _ATTENTION,
    "linear_attention_step": _ATTENTION,
    "noncausal_linear_attention": _ATTENTION,
    "selective_scan": _MAMBA,
}

__all__ = [
    "UGRNN",
    "FavorFeatures",
    "LeakyRNN",
    "LeakyRNNCell",
    "LinearTransformer",
    "LinearTransformerCache",
    "LinearTransformerConfig",
    "LinearTransformerForCausalLM",
    "LinearTransformerForSequenceClassification",
    "LinearTransformerModel",
    "MambaClassifier",
    "MambaMixer",
    "RNNClassifier",
    "ResetFirstGRU",
    "ResetFirstGRUCell",
    "TransformersMambaClassifier",
    "UGRNNCell",
    "causal_linear_attention",
    "linear_attention_backend",
    "linear_attention_step",
    "noncausal_linear_attention",
    "selective_scan",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dynprobe.nn' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
