"""Mamba-1 (arXiv 2312.00752): h' = exp(dt A) h + dt B x, one decay for every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dynprobe.recurrences.huggingface.mamba import MambaObserver
from dynprobe.recurrences.huggingface.source import owner_of
from dynprobe.recurrences.kernel import KernelCall
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard, warn
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.recurrences.taps import Seen, Tap

SCAN, STEP = "mamba_selective_scan", "mamba_selective_state_update"


class Mamba1Observer(MambaObserver):
    """MambaMixer and its kin: mamba, falcon_mamba, jamba, zamba (several heads)."""

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        file = owner_of(module, SCAN)
        if file is None:
            return ()
        found = [Tap(file, SCAN), Tap(file, STEP, overwrites=("state",))]
        if hasattr(file, "mamba_inner_fn"):
            found.append(Tap(file, "mamba_inner_fn", bypass=True))
        return found

    def children(self, module: nn.Module) -> Mapping[str, nn.Module]:
        """Where the scan is no function of its own, its inputs pass through these."""
        if owner_of(module, SCAN) is not None:
            return {}
        names = ("x_proj", "dt_proj", "b_layernorm")
        return {n: m for n in names if isinstance(m := getattr(module, n, None), nn.Module)}

    def form(self, module: nn.Module) -> RankOne:
        a = _a_log(module)
        n = a.shape[-1]
        inner, groups = a[..., 0].numel(), a.shape[0] if a.dim() == 3 else 1
        layout = Layout((("ssm", tuple(a.shape)),))
        return RankOne(layout, inner, 1, n, k_groups=inner, u_groups=groups)

    def scale(self, module: nn.Module) -> Tensor:
        a = _a_log(module)
        return -a.float().exp().reshape(-1, 1, a.shape[-1])

    def read(self, heard: Heard) -> KernelCall:
        module = heard.module
        form = self.form(module)
        batch = heard.output.shape[0]
        if any(s.name in ("x_proj", "dt_proj") for s in heard.seen):
            k, u, dt = _from_children(module, {s.name: s for s in heard.seen})
            passed, returned = heard.prepared, None
        else:  # one call for each head
            k, u, dt = (torch.cat(x, dim=2) for x in zip(*map(_from_scan, heard.seen), strict=True))
            steps = [s for s in heard.seen if s.name == STEP]
            passed = _heads([s.before["state"] for s in steps])
            returned = _heads([s.arguments["state"] for s in steps] or _finals(heard.seen))
            if heard.prepared is not None and not steps and bool(heard.prepared.any()):
                warn(
                    f"{type(module).__name__} was given {k.shape[1]} tokens on a cache that "
                    "already holds a state, and restarted from zero: so does the recording. Feed "
                    "the tokens after a warm cache one by one, or all of them at once."
                )
        if returned is None:
            returned = self.prepare(module, heard.args, heard.kwargs)  # what it holds now
        parts = {
            "k": k.unflatten(2, (form.heads, 1)),
            "u": u.unflatten(2, (form.u_groups, form.value)),
            "rate": dt.unflatten(2, (form.heads, 1)),
        }
        assert k.shape[0] == batch
        return self.call(
            module,
            parts,
            passed=passed,
            returned=returned,
        )


def _a_log(module: nn.Module) -> Tensor:
    a = module.A_log
    assert isinstance(a, Tensor)
    return a


def _from_scan(seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
    """k = dt x, u = B and dt of one call of a scan or a step, (batch, time, width) each."""
    given = seen.arguments
    x, dt, b = given["hidden_states"], given["dt"], given["B"]
    if seen.name == STEP:
        x, dt, b = x.unsqueeze(-1), dt.unsqueeze(-1), b.unsqueeze(-1)
    bias = given.get("delta_bias", given.get("dt_bias"))
    if bias is not None:
        dt = dt + bias.to(dt.dtype)[..., None]
    if given.get("delta_softplus", given.get("dt_softplus")):
        dt = softplus(dt)
    dt = dt.float().transpose(1, 2)
    return dt * x.float().transpose(1, 2), b.float().transpose(1, 2), dt


def _finals(seen: list[Seen]) -> list[Tensor]:
    return [s.output[1] for s in seen if isinstance(s.output, tuple)]


def _heads(states: list[Tensor]) -> Tensor | None:
    if not states:
        return None
    return states[0] if len(states) == 1 else torch.stack(states, dim=1)


def _from_children(module: nn.Module, seen: dict[str, Seen]) -> tuple[Tensor, Tensor, Tensor]:
    """The same from what the projections were given and gave."""
    x = seen["x_proj"].arguments["input"].float()
    dt = softplus(seen["dt_proj"].output.float())
    n = _a_log(module).shape[-1]
    if "b_layernorm" in seen:
        b = seen["b_layernorm"].output
    else:
        b = seen["x_proj"].output[..., -2 * n : -n]
        if hasattr(module, "rms_eps"):  # falcon_mamba: normalised without a weight
            b = b.float()
            b = b * torch.rsqrt(b.pow(2).mean(-1, keepdim=True) + module.rms_eps)
    return dt * x, b.float(), dt
