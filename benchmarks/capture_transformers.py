"""Recurrent layers of transformers models, 4 layers of width 128, batch 4, 256 tokens, no cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import peers
import torch
import transformers
from cases import PLAIN, Cases, agree
from torch import Tensor, nn

import dynprobe

BATCH, TOKENS, VOCABULARY = 4, 256, 64
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 128, "num_hidden_layers": 4}
QWEN = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
}
MAMBA2 = {"num_heads": 4, "head_dim": 64, "state_size": 64, "n_groups": 1}
#: Family, the argument that takes its cache, and what its configuration has beside SHAPE.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Mamba": ("Mamba", "cache_params", {}),
    "Mamba-2": ("Mamba2", "cache_params", MAMBA2),
    "Qwen3Next (gated DeltaNet)": ("Qwen3Next", "past_key_values", QWEN),
}


def settings() -> dict[str, Callable[[], Cases]]:
    return {
        f"{name}, {SHAPE['num_hidden_layers']} layers": partial(_cases, *model)
        for name, model in MODELS.items()
    }


@torch.no_grad()
def step_by_step(model: nn.Module, ids: Tensor, layers: list[int], cache: str) -> list[Tensor]:
    """States of some layers after every token, read from the model's own cache on the way."""
    states: list[list[Tensor]] = [[] for _ in layers]
    given: dict[str, Any] = {}
    for token in ids.split(1, dim=1):
        given[cache] = getattr(model(token, use_cache=True, **given), cache)
        for kept, layer in zip(states, layers, strict=True):
            # overwritten in place by the next token
            kept.append(given[cache].get_recurrent_state(layer, state_idx=0).clone())
    return [torch.stack(kept, 1).flatten(2) for kept in states]


def _cases(family: str, cache: str, extra: dict[str, Any]) -> Cases:
    transformers.logging.set_verbosity_error()  # the fast kernels are not installed: so be it
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SHAPE, **extra)
    causal = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    model = causal.base_model
    ids = torch.randint(VOCABULARY, (BATCH, TOKENS))

    def plain() -> None:
        with torch.no_grad():
            model(ids, use_cache=False)

    def attached() -> dynprobe.Probe:
        with dynprobe.attach(model) as probe, torch.no_grad():
            model(ids, use_cache=False)
        return probe

    def everything() -> list[Tensor]:
        probe = attached()
        return [probe.recording(info.key).states for info in probe.layers]

    layers = [int(info.key.split(".")[1]) for info in attached().layers]

    def stepped() -> list[Tensor]:
        return step_by_step(model, ids, layers, cache)

    expected = everything()
    for got, right in zip(stepped(), expected, strict=True):
        agree(got, right)
    return {
        PLAIN: plain,
        "attached": attached,
        "everything": everything,
        "token by token through the cache": stepped,
        **peers.transformers_model(family, causal, ids, layers, expected),
    }
