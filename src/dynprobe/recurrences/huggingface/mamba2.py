"""Mamba-2 (arXiv 2405.21060): S' = exp(dt A) S + dt x B^T, one decay for a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dynprobe.recurrences.huggingface.mamba import MambaObserver
from dynprobe.recurrences.huggingface.source import masked, owner_of
from dynprobe.recurrences.kernel import KernelCall
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard, warn
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.recurrences.taps import Seen, Tap

SCAN, STEP = "mamba2_chunk_scan", "mamba2_selective_state_update"


class Mamba2Observer(MambaObserver):
    """Mamba2Mixer and its kin: mamba2, zamba2, bamba, falcon_h1, nemotron_h, granitemoehybrid."""

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        file = owner_of(module, SCAN)
        if file is None:
            return ()
        found = [
            Tap(file, SCAN, overwrites=("initial_states",)),
            Tap(file, STEP, overwrites=("state",)),
        ]
        if hasattr(file, "mamba2_split_conv1d_scan_combined"):
            found.append(Tap(file, "mamba2_split_conv1d_scan_combined", bypass=True))
        return found

    def children(self, module: nn.Module) -> Mapping[str, nn.Module]:
        """Where the scan is no function of its own, its inputs pass through these."""
        if owner_of(module, SCAN) is not None:
            return {}
        return {n: m for n in ("in_proj", "act") if isinstance(m := getattr(module, n), nn.Module)}

    def form(self, module: nn.Module) -> RankOne:
        heads, width, n = _number(module, "num_heads"), _number(module, "head_dim"), _states(module)
        layout = Layout.of(S=(heads, width, n))
        groups = _number(module, "n_groups")
        return RankOne(layout, heads, width, n, k_groups=heads, u_groups=groups)

    def scale(self, module: nn.Module) -> Tensor:
        a = module.A_log
        assert isinstance(a, Tensor)
        return -a.float().exp().reshape(-1, 1, 1)

    def read(self, heard: Heard) -> KernelCall:
        module = heard.module
        low, high = _limits(module)
        legacy = any(s.name == "in_proj" for s in heard.seen)
        if legacy:
            mask = heard.argument("attention_mask")
            x, b, dt = _from_children(module, {s.name: s for s in heard.seen}, mask)
        else:
            (call,) = heard.seen
            x, b, dt = _from_scan(call)
            if call.name == STEP and bool((dt != dt.clamp(low, high)).any()):
                warn(
                    f"{type(module).__name__} has a time_step_limit ({low}, {high}) that its "
                    "prefill applies and its one-token decoding does not, and here it matters: "
                    "states of decoded tokens are not those of one forward over the whole text."
                )
        if legacy or call.name == SCAN:
            dt = dt.clamp(low, high)
        passed, returned = heard.prepared, None
        if not legacy:
            (passed,) = call.before.values()
            if call.name == STEP:
                returned = call.arguments["state"]
            elif isinstance(call.output, tuple):
                returned = call.output[1]
        if returned is None:
            returned = self.prepare(module, heard.args, heard.kwargs)  # what it holds now
        parts = {
            "k": dt[..., None] * x,
            "u": b,
            "rate": dt[..., None],
        }
        return self.call(
            module,
            parts,
            passed=passed,
            returned=returned,
        )


def _number(module: nn.Module, name: str) -> int:
    return int(getattr(module, name))


def _states(module: nn.Module) -> int:
    return int(getattr(module, "ssm_state_size", 0) or module.state_size)  # type: ignore[arg-type]


def _limits(module: nn.Module) -> tuple[float, float]:
    limits: Any = getattr(module, "time_step_limit", None)
    if limits is None:  # zamba2 of older releases
        return float(getattr(module, "time_step_min", 0.0)), float("inf")
    return float(limits[0]), float(limits[1])


def _from_scan(seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
    """x (batch, time, heads, head_dim), B (batch, time, groups, n), dt (batch, time, heads)."""
    given = seen.arguments
    x, dt, b, bias = given["hidden_states"], given["dt"], given["B"], given.get("dt_bias")
    if seen.name == STEP:  # one token, and dt repeated over the head
        x, b, dt = x.unsqueeze(1), b.unsqueeze(1), dt[..., 0].unsqueeze(1)
        bias = None if bias is None else bias[..., 0]
    if bias is not None:
        dt = dt + bias.to(dt.dtype)
    if given.get("dt_softplus"):
        dt = softplus(dt)
    return x.float(), b.float(), dt.float()


def _from_children(
    module: nn.Module, seen: dict[str, Seen], mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The same from the first projection and the activation after the convolution."""
    heads, width, n = _number(module, "num_heads"), _number(module, "head_dim"), _states(module)
    groups = _number(module, "n_groups")
    projected = seen["in_proj"].output
    scale = getattr(module, "mup_vector", None)
    if isinstance(scale, Tensor):
        projected = projected * scale
    time = projected.shape[1]
    mixed = seen["act"].output
    if mixed.dim() == 2:
        mixed = mixed.unsqueeze(1)
    elif mixed.shape[-1] != heads * width + 2 * groups * n:  # before it was turned round
        mixed = mixed.transpose(1, 2)[:, :time]
    mixed = masked(mixed[:, -time:], mask)
    x, b, _ = mixed.split([heads * width, groups * n, groups * n], dim=-1)
    bias = module.dt_bias
    assert isinstance(bias, Tensor)
    dt = softplus(projected[..., -heads:] + bias.to(projected.dtype))
    return (
        x.unflatten(-1, (heads, width)).float(),
        b.unflatten(-1, (groups, n)).float(),
        torch.as_tensor(dt).float(),
    )
