"""Lightning attention (arXiv 2405.17381): linear attention with one constant decay a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.recurrences.huggingface.source import masked
from dynprobe.recurrences.kernel import KernelCall, KernelObserver
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard, argument, warn
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.recurrences.taps import Tap


class LightningObserver(KernelObserver):
    """MiniMaxLightningAttention: keys and values pass through its projection, no function."""

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        return ()

    def children(self, module: nn.Module) -> Mapping[str, nn.Module]:
        projection = module.qkv_proj
        assert isinstance(projection, nn.Module)
        return {"qkv_proj": projection}

    def prepare(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        cache = argument(module, args, kwargs, "past_key_values", "past_key_value")
        if cache is None:
            return None
        index = int(module.layer_idx)  # type: ignore[arg-type]
        state = cache.get_linear_cache(index)
        return state.detach().clone() if isinstance(state, Tensor) else None

    def form(self, module: nn.Module) -> RankOne:
        heads, width = int(module.num_attention_heads), int(module.head_dim)  # type: ignore[arg-type]
        return RankOne(
            Layout.of(S=(heads, width, width)),
            heads,
            width,
            width,
            k_groups=heads,
            u_groups=heads,
            rates=0,
        )

    def scale(self, module: nn.Module) -> Tensor:
        slope = module.slope_rate
        assert isinstance(slope, Tensor)
        return -slope.float()

    def read(self, heard: Heard) -> KernelCall:
        module = heard.module
        form = self.form(module)
        act: Any = module.act_fn
        mask = heard.argument("attention_mask")
        qkv = masked(act(heard.seen[-1].output), mask)
        _, k, v = qkv.unflatten(-1, (form.heads, 3 * form.key)).split(form.key, dim=-1)
        returned = heard.output[1] if isinstance(heard.output, tuple) else None
        if isinstance(returned, Tensor) and returned.dtype in (torch.bfloat16, torch.float16):
            warn(
                f"{type(module).__name__} keeps its state in {returned.dtype}: it rounds at every "
                "block. The recorded states are computed in float32 from the same keys and "
                "values, so they differ from the model's own by its rounding."
            )
        return self.call(
            module,
            {"k": k, "u": v},
            passed=heard.prepared,
            returned=returned if isinstance(returned, Tensor) else None,
        )
