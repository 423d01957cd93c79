"""RWKV-4 (arXiv 2305.13048): a decayed average of values, numerator over denominator.

Stored as the model stores it, relative to a running maximum: unscaled by exp(max) it overflows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynprobe.errors import DynprobeError
from dynprobe.recurrences.huggingface.source import owner_of
from dynprobe.recurrences.kernel import KernelCall, KernelObserver
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard
from dynprobe.recurrences.rank_one import STABILISED, RankOne
from dynprobe.recurrences.taps import Tap

FUNCTION = "rwkv_linear_attention"


class Rwkv4Observer(KernelObserver):
    """RwkvSelfAttention."""

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        return (Tap(owner_of(module, FUNCTION), FUNCTION, overwrites=("state",)),)

    def form(self, module: nn.Module) -> RankOne:
        width = int(module.attention_hidden_size)  # type: ignore[arg-type]
        return RankOne(
            Layout.of(num=width, den=width, max=width),
            width,
            1,
            1,
            k_groups=0,
            u_groups=width,
            rates=0,
            kind=STABILISED,
            normaliser=True,
        )

    def scale(self, module: nn.Module) -> Tensor:
        decay = module.time_decay
        assert isinstance(decay, Tensor)
        return -decay.float().exp().reshape(-1, 1, 1)

    def zero(self, form: RankOne, like: Tensor) -> Tensor:
        state = super().zero(form, like)
        state[:, -form.heads :] = -1e38  # nothing seen yet, as the model writes it
        return state

    def read(self, heard: Heard) -> KernelCall:
        module = heard.module
        (call,) = heard.seen
        given = call.arguments
        key, value = given["key"], given["value"]
        hidden = heard.args[0] if heard.args else heard.kwargs["hidden"]
        if key.shape[0] != hidden.shape[0] or key.shape[1] != hidden.shape[1]:
            raise DynprobeError(
                f"transformers' one-token decoding of RWKV-4 mixes the sequences of a batch: it "
                f"was given {tuple(hidden.shape[:2])} (batch, time) and computed "
                f"{tuple(key.shape[:2])}. Decode sequences one by one (batch 1), or run whole "
                "texts through one forward."
            )
        passed, returned = call.before["state"], call.output[1]
        return self.call(
            module,
            {"v": value.unsqueeze(-1), "gate": key},
            passed=None if passed is None else torch.cat(list(passed), dim=-1),
            returned=None if returned is None else torch.cat(list(returned), dim=-1),
        )
