"""Layers of flash-linear-attention (fla-core >= 0.5.1), which call their kernels by keyword.

Whatever the mode (chunk, fused chunk, fused recurrent), a kernel is given k, v and the gates of
all tokens; the state follows from them, on whichever device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dynprobe.recurrences.huggingface.source import unit
from dynprobe.recurrences.kernel import KernelCall, KernelObserver
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard
from dynprobe.recurrences.rank_one import DELTA, PLAIN, RankOne
from dynprobe.recurrences.taps import Tap

#: Layer -> the stems of its kernels' names, kind, and numbers of the decay for a key channel (-1),
#: for a head (1) or none (0).
LAYERS: dict[str, tuple[str, str, int]] = {
    "fla.layers.linear_attn.LinearAttention": ("linear_attn", PLAIN, 0),
    "fla.layers.multiscale_retention.MultiScaleRetention": ("retention", PLAIN, 0),
    "fla.layers.gla.GatedLinearAttention": ("gla", PLAIN, -1),
    "fla.layers.delta_net.DeltaNet": ("delta_rule", DELTA, 0),
    "fla.layers.gated_deltanet.GatedDeltaNet": ("gated_delta_rule", DELTA, 1),
}


class FlaObserver(KernelObserver):
    """LinearAttention, MultiScaleRetention, GatedLinearAttention, DeltaNet, GatedDeltaNet."""

    def _family(self, module: nn.Module) -> tuple[Any, str, str, int]:
        import sys

        for cls in type(module).__mro__:
            name = f"{cls.__module__}.{cls.__qualname__}"
            if name in LAYERS:
                return sys.modules[cls.__module__], *LAYERS[name]
        raise LookupError(type(module).__qualname__)

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        file, stem, *_ = self._family(module)
        names = [f"{mode}_{stem}" for mode in ("chunk", "fused_chunk", "fused_recurrent")]
        return [Tap(file, n, overwrites=("initial_state",)) for n in names if hasattr(file, n)]

    def form(self, module: nn.Module) -> RankOne:
        _, _, kind, rates = self._family(module)
        heads = _first(module, "num_v_heads", "num_heads")
        keys = _first(module, "num_kv_heads", "num_k_heads", "num_heads")
        key = _first(module, "head_k_dim", "head_qk_dim", "head_dim")
        value = _first(module, "head_v_dim", "head_dim")
        return RankOne(
            Layout.of(S=(heads, key, value)),
            heads,
            key,
            value,
            k_groups=min(keys, heads),
            u_groups=heads,
            rates=key if rates == -1 else rates,
            kind=kind,
        )

    def scale(self, module: nn.Module) -> Tensor:
        _, stem, _, rates = self._family(module)
        like = next(module.parameters())
        if stem == "retention":  # arXiv 2307.08621, eq. 8: one fixed decay a head
            head = torch.arange(_first(module, "num_heads"), device=like.device)
            return torch.log1p(-torch.exp2(-5.0 - head)).reshape(-1, 1, 1)
        one = torch.ones(1, 1, 1, device=like.device)
        return one if rates else torch.zeros_like(one)

    def read(self, heard: Heard) -> KernelCall:
        module = heard.module
        (call,) = heard.seen
        form, given = self.form(module), _flat_arguments(call.arguments)
        k = given["k"].float()
        if given.get("use_qk_l2norm_in_kernel"):
            k = unit(k)
        parts = {"k": _groups(k, form.k_groups), "v" if form.kind == DELTA else "u": given["v"]}
        if form.kind == DELTA:
            parts["beta"] = _beta(given)
        if form.rates:
            gate = given.get("gk")
            gate = given["g"] if gate is None else gate
            parts["rate"] = gate if form.rates > 1 else _log_decay(given).unsqueeze(-1)
        turn = bool(given.get("state_v_first"))
        final = call.output[1] if isinstance(call.output, tuple) else None
        return self.call(
            module,
            parts,
            passed=_turned(call.before["initial_state"], turn=turn),
            returned=_turned(final, turn=turn),
        )


def _flat_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, those that the kernel takes as ``**kwargs`` included."""
    extra = arguments.get("kwargs")
    return {**arguments, **extra} if isinstance(extra, Mapping) else dict(arguments)


def _groups(k: Tensor, groups: int) -> Tensor:
    return k[:, :, :: k.shape[2] // groups]


def _turned(state: Tensor | None, *, turn: bool) -> Tensor | None:
    """(batch, heads, value, key) -> (batch, heads, key, value) where the kernel keeps the first."""
    return state.transpose(-1, -2) if turn and state is not None else state


def _beta(given: Mapping[str, Any]) -> Tensor:
    beta: Tensor = given["beta"].float()
    if given.get("use_beta_sigmoid_in_kernel"):
        beta = beta.sigmoid()
        beta = 2 * beta if given.get("allow_neg_eigval") else beta
    return beta


def _log_decay(given: Mapping[str, Any]) -> Tensor:
    g: Tensor = given["g"].float()
    if given.get("use_gate_in_kernel"):
        bias = given.get("dt_bias")
        g = g if bias is None else g + bias.float()
        g = -given["A_log"].float().exp() * softplus(g)
    return g


def _first(module: nn.Module, *names: str) -> int:
    return next(int(getattr(module, n)) for n in names if hasattr(module, n))
