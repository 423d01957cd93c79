"""What the mixers of Mamba-1 and Mamba-2 share: a cache that keeps their state by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dynprobe.recurrences.huggingface.source import cached_state
from dynprobe.recurrences.kernel import KernelObserver
from dynprobe.recurrences.listening import argument


class MambaObserver(KernelObserver):
    """Observer of a mixer that is given its cache as an argument."""

    def prepare(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Tensor | None:
        """A copy of the state in the cache: None without a cache, or in an empty one."""
        cache = argument(module, args, kwargs, "cache_params", "past_key_values")
        return cached_state(cache, int(getattr(module, "layer_idx", 0)))
