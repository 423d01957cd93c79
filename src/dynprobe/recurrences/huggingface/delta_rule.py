"""Gated delta rule: gated DeltaNet (arXiv 2412.06464) and KDA, one decay a head or a channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynprobe.recurrences.huggingface.source import owner_of, unit
from dynprobe.recurrences.kernel import KernelCall, KernelObserver
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard
from dynprobe.recurrences.rank_one import DELTA, RankOne
from dynprobe.recurrences.taps import Tap

#: Whole sequences and single steps, of gated DeltaNet and of KDA.
FUNCTIONS = (
    "torch_chunk_gated_delta_rule",
    "torch_recurrent_gated_delta_rule",
    "chunk_kimi_delta_attention",
    "recurrent_kimi_delta_attention",
)
#: The same, where a mixer keeps the function it picked as an attribute of its own.
ATTRIBUTES = ("chunk_gated_delta_rule", "recurrent_gated_delta_rule")

_STATE = ("initial_state",)


class DeltaRuleObserver(KernelObserver):
    """qwen3_next, qwen3_5, qwen3_5_moe, olmo_hybrid; with KDA kimi_linear, bailing_hybrid."""

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        own = [Tap(module, name, _STATE) for name in ATTRIBUTES if callable(vars(module).get(name))]
        if own:
            return own
        files = [(owner_of(module, name), name) for name in FUNCTIONS]
        return [Tap(file, name, _STATE) for file, name in files if file is not None]

    def form(self, module: nn.Module) -> RankOne:
        per_channel = not hasattr(module, "A_log")
        heads = _first(module, "num_v_heads", "num_heads")
        key = _first(module, "head_k_dim", "head_dim")
        value = _first(module, "head_v_dim", "head_dim")
        # the kernel repeats keys of fewer heads
        groups = _first(module, "num_k_heads", "num_heads")
        return RankOne(
            Layout.of(S=(heads, key, value)),
            heads,
            key,
            value,
            k_groups=groups,
            u_groups=heads,
            rates=key if per_channel else 1,
            kind=DELTA,
        )

    def scale(self, module: nn.Module) -> Tensor:
        return torch.ones(1, 1, 1, device=next(module.parameters()).device)

    def read(self, heard: Heard) -> KernelCall:
        module = heard.module
        (call,) = heard.seen
        given, form = call.arguments, self.form(module)
        k = given["key"].float()
        if given.get("use_qk_l2norm_in_kernel"):
            k = unit(k)
        if k.shape[2] != form.k_groups:  # already repeated by the mixer
            k = k[:, :, :: k.shape[2] // form.k_groups]
        rate = given["g"].float()
        parts = {
            "k": k,
            "v": given["value"],
            "rate": rate if form.rates > 1 else rate.unsqueeze(-1),
            "beta": given["beta"],
        }
        return self.call(
            module,
            parts,
            passed=call.before["initial_state"],
            returned=call.output[1],
        )


def _first(module: nn.Module, *names: str) -> int:
    return next(int(getattr(module, n)) for n in names if hasattr(module, n))
