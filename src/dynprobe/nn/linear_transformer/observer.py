"""How a probe sees a linear transformer: its states follow from what the attention was given."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.nn.linear_attention.feature_maps import split_map
from dynprobe.nn.linear_attention.reference import State
from dynprobe.nn.linear_transformer.attention import CausalMixer, Kernel
from dynprobe.recurrences import register_recurrence
from dynprobe.recurrences.kernel import KernelCall, KernelObserver
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard, warn
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.recurrences.taps import Tap


@register_recurrence(CausalMixer)
class LinearTransformerObserver(KernelObserver):
    """S (heads, features, head_dim), and Z (heads, features) where the attention is normalised.

    The input of the map is phi(k), zero at padding, and v. Without a decay every direction of the
    state is marginal (A = I): no token held for ever has a fixed point.
    """

    padding_ends_in_cache = False

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        return (Tap(sys.modules[CausalMixer.__module__], "attend"),)

    def form(self, module: nn.Module) -> RankOne:
        assert isinstance(module, CausalMixer)
        config = module.config
        heads, key, value = config.num_attention_heads, config.feature_dim, config.head_dim
        parts: dict[str, Any] = {"S": (heads, key, value)}
        if config.normalize:
            parts["Z"] = (heads, key)
        return RankOne(
            Layout.of(**parts),
            heads,
            key,
            value,
            k_groups=heads,
            u_groups=heads,
            rates=0,
            normaliser=config.normalize,
        )

    def scale(self, module: nn.Module) -> Tensor:
        assert isinstance(module, CausalMixer)
        like = module.k_proj.weight
        rates = module.kernel.rates(like)
        if rates is None:
            return torch.zeros(1, 1, 1, device=like.device)
        return rates.log().reshape(-1, 1, 1)

    def read(self, heard: Heard) -> KernelCall:
        module = heard.module
        given, form = heard.seen[-1].arguments, self.form(module)
        kernel: Kernel = given["kernel"]
        k, v, mask = given["k"], given["v"], given["mask"]
        _, k, phi = split_map(k[:, :, :0], k, kernel.feature_map, nonnegative=False)
        k, v = phi(k.float()), v.float()
        if mask is not None:
            gone = ~mask[:, None, :, None]
            k, v = k.masked_fill(gone, 0.0), v.masked_fill(gone, 0.0)
            cached = heard.argument("past_key_values") is not None
            if cached and kernel.decay is not None and not bool(mask[:, -1].all()):
                warn(
                    "Padding on the right of a call with a cache: the model's state does not decay "
                    "over it, recorded states do. What a next call adds to this sequence is then "
                    "recorded on a state that is too small; pad on the left."
                )
        return self.call(
            module,
            {"k": k.transpose(1, 2), "u": v.transpose(1, 2)},
            passed=_flat(given["state"], form),
            returned=_flat(heard.seen[-1].output[1], form),
        )


def _flat(state: State | None, form: RankOne) -> Tensor | None:
    if state is None:
        return None
    s, z = state
    return torch.cat([s.flatten(1), z.flatten(1)], dim=1) if form.normaliser else s.flatten(1)
