"""mLSTM (arXiv 2405.04517): a matrix memory with exponential gates, a normaliser and a maximum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from dynprobe.recurrences.kernel import KernelCall, KernelObserver
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.listening import Heard, warn
from dynprobe.recurrences.rank_one import STABILISED, RankOne
from dynprobe.recurrences.taps import Tap


class MLSTMObserver(KernelObserver):
    """xLSTMLayer: everything passes through its backend, a module of its own."""

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        return ()

    def children(self, module: nn.Module) -> Mapping[str, nn.Module]:
        backend = module.mlstm_backend
        assert isinstance(backend, nn.Module)
        return {"mlstm_backend": backend}

    def form(self, module: nn.Module) -> RankOne:
        config: Any = module.config
        heads = int(config.num_heads)
        key, value = int(module.qk_dim) // heads, int(module.v_dim) // heads  # type: ignore[arg-type]
        return RankOne(
            Layout.of(C=(heads, key, value), n=(heads, key), m=heads),
            heads,
            key,
            value,
            k_groups=heads,
            u_groups=heads,
            kind=STABILISED,
            normaliser=True,
        )

    def scale(self, module: nn.Module) -> Tensor:
        return torch.ones(1, 1, 1, device=next(module.parameters()).device)

    def read(self, heard: Heard) -> KernelCall:
        module = heard.module
        given = heard.seen[-1].arguments
        heads_last = {n: given[n].transpose(1, 2) for n in ("key", "value", "igate", "fgate")}
        state = heard.output[1] if isinstance(heard.output, tuple) else None
        states = tuple(state) if isinstance(state, (tuple, list)) else ()
        if any(s.dtype in (torch.bfloat16, torch.float16) for s in states):
            warn(
                f"{type(module).__name__} keeps its state in {states[0].dtype}: it rounds at every "
                "chunk. The recorded states are computed in float32 from the same gates, so they "
                "differ from the model's own by its rounding."
            )
        parts = {
            "k": heads_last["key"],
            "v": heads_last["value"],
            "rate": logsigmoid(heads_last["fgate"].float()).unsqueeze(-1),
            "gate": heads_last["igate"],
        }
        initial = [given.get(n) for n in ("c_initial", "n_initial", "m_initial")]
        return self.call(
            module,
            parts,
            passed=_flat([s for s in initial if s is not None]),
            returned=_flat(list(states)),
        )


def _flat(states: list[Tensor]) -> Tensor | None:
    if len(states) != 3:
        return None
    return torch.cat([s.detach().float().flatten(1) for s in states], dim=-1)
