"""How a probe sees the mixer of this package: as the one of transformers whose names it has."""

from __future__ import annotations

from dynprobe.nn.mamba.mixer import MambaMixer
from dynprobe.recurrences import register_recurrence
from dynprobe.recurrences.huggingface.mamba1 import Mamba1Observer


@register_recurrence(MambaMixer)
class MambaMixerObserver(Mamba1Observer):
    """The state is ssm (inner, N); its inputs are what went through `x_proj` and `dt_proj`."""
