"""nnsight and TransformerLens doing the same, where they can, and the reason where they cannot."""

from __future__ import annotations

import copy
import os
import sys
from importlib import import_module, metadata

import torch
from cases import Cases, agree
from torch import Tensor, nn

NNSIGHT, LENS = "nnsight", "transformer_lens"
_found: dict[str, str] = {}


def find(path: str | None) -> dict[str, str]:
    """Look for the peers, in `path` last: torch and transformers stay the ones installed here.

    Returns
    -------
    dict
        Versions of those that can be imported.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no tokenizer is looked up
    if path is not None:
        sys.path.append(path)
    for name in (NNSIGHT, LENS):
        try:
            import_module(name)
        except ImportError as error:
            print(f"{name} is left out: {error}")
        else:
            _found[name] = metadata.version(name)
    return _found


def lstm(module: nn.LSTM, x: Tensor) -> Cases:
    cases: Cases = {}
    if NNSIGHT in _found:
        from nnsight import NNsight

        traced = NNsight(copy.deepcopy(module))

        def output() -> Tensor:
            with torch.no_grad(), traced.trace(x):
                out = traced.output.save()
            h: Tensor = out[0]
            return h

        agree(output(), module(x)[0])
        cases["nnsight, h of the top layer"] = output
        cases["nnsight, c and lower layers"] = "nn.LSTM is one compiled call, nothing inside shows"
    if LENS in _found:
        cases["TransformerLens"] = "has no adapter of torch.nn layers"
    return cases


def transformers_model(
    family: str, causal: nn.Module, ids: Tensor, layers: list[int], expected: list[Tensor]
) -> Cases:
    """Cases of both peers; `expected` are the states of `layers`, (batch, time, state_dim)."""
    cases: Cases = {}
    if NNSIGHT in _found:
        cases |= _nnsight(family, causal, ids, layers, expected)
    if LENS in _found:
        cases |= _lens(family, causal, ids, layers, expected)
    return cases


def _nnsight(
    family: str, causal: nn.Module, ids: Tensor, layers: list[int], expected: list[Tensor]
) -> Cases:
    import nnsight

    model = nnsight.NNsight(copy.deepcopy(causal.base_model))
    # a module whose source was opened keeps the rewritten forward: not the one timed above
    opened = nnsight.NNsight(copy.deepcopy(causal.base_model))
    mixer = "linear_attn" if family == "Qwen3Next" else "mixer"

    def outputs() -> list[Tensor]:
        with torch.no_grad(), model.trace(ids, use_cache=False):
            out = nnsight.save([getattr(model.layers[i], mixer).output for i in layers])
        return out  # noqa: RET504  # bound by the trace

    def inside_the_scan() -> list[Tensor]:
        with torch.no_grad(), opened.trace(ids, use_cache=False) as tracer:
            out = nnsight.save([])
            for i in layers:
                # the assignment of the state in the loop over tokens of the reference scan
                scan = opened.layers[i].mixer.source.mamba_selective_scan_0.source
                for _ in tracer.iter[: ids.shape[1]]:
                    out.append(scan.implementation_0.source.ssm_state_3.output)
        time = ids.shape[1]
        return [
            torch.stack(out[n * time : (n + 1) * time], 1).flatten(2) for n in range(len(layers))
        ]

    outputs()
    cases: Cases = {"nnsight, outputs of the mixers": outputs}
    if family == "Mamba":
        for got, right in zip(inside_the_scan(), expected, strict=True):
            agree(got, right)
        cases["nnsight, states by name in the scan's source"] = inside_the_scan
    else:
        cases["nnsight, states"] = "the scan works on chunks; no state after each token is formed"
    return cases


def _lens(
    family: str, causal: nn.Module, ids: Tensor, layers: list[int], expected: list[Tensor]
) -> Cases:
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    # the bridge replaces submodules of the model it is given
    bridge = build_bridge_from_module(
        copy.deepcopy(causal), f"{family}ForCausalLM", hf_config=causal.config
    )
    mixer = "linear_attn" if family == "Qwen3Next" else "mixer"
    for i in layers:
        getattr(bridge.blocks[i], mixer).eager_scan = True

    def states() -> list[Tensor]:
        with torch.no_grad():
            _, cache = bridge.run_with_cache(
                ids, names_filter=lambda n: n.endswith("hook_ssm_state"), use_cache=False
            )
        out = [cache[f"blocks.{i}.{mixer}.hook_ssm_state"] for i in layers]
        return [s.transpose(1, 2) if family == "Mamba" else s for s in out]

    for got, right in zip(states(), expected, strict=True):
        agree(got.flatten(2), right)
    return {"TransformerLens, states by its own scan": states}
