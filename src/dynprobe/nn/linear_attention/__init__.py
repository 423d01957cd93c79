"""Linear attention: the function, its kernels and feature maps."""

from dynprobe.nn.linear_attention.backends import linear_attention_backend
from dynprobe.nn.linear_attention.feature_maps import FavorFeatures
from dynprobe.nn.linear_attention.function import (
    causal_linear_attention,
    linear_attention_step,
    noncausal_linear_attention,
)

__all__ = [
    "FavorFeatures",
    "causal_linear_attention",
    "linear_attention_backend",
    "linear_attention_step",
    "noncausal_linear_attention",
]
