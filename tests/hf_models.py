"""Tiny, randomly initialised models of every family, and a token-by-token oracle for each.

The oracle never looks at what the recovery code looks at: it feeds one token at a time through the
model's own cache and reads the state there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn

VOCABULARY = 40
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
GDN = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}


@dataclass(frozen=True)
class Family:
    """One model class: where it is, its tiny configuration, and how to read its oracle."""

    model: str  # folder under transformers.models
    cls: str
    config: dict[str, Any]
    config_cls: str = ""
    layers: int = 2  # recurrent layers found
    batch: int = 2
    cache: str = "past_key_values"
    state: str = "cache"
    #: Arguments of the forward that the oracle has to give.
    position_ids: bool = False

    def __str__(self) -> str:
        return self.cls

    def build(self) -> nn.Module:
        """The model, or ImportError where this release has none."""
        folder = f"transformers.models.{self.model}"
        try:
            modeling = importlib.import_module(f"{folder}.modeling_{self.model}")
            configuration = importlib.import_module(f"{folder}.configuration_{self.model}")
        except ModuleNotFoundError as error:
            raise ImportError(str(error)) from error
        model_cls = getattr(modeling, self.cls)
        config_cls = getattr(configuration, self.config_cls or model_cls.config_class.__name__)
        torch.manual_seed(1)
        config = config_cls(**self.config)
        model = model_cls(config).eval().float()
        # the default initialisation is nearly zero at this size: states worth comparing
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.dim() >= 2 and "A_log" not in name:
                    p.add_(0.15 * torch.randn(p.shape, generator=generator))
        return model


FAMILIES = [
    Family("mamba", "MambaForCausalLM", {**SMALL, "state_size": 4}, cache="cache_params"),
    Family(
        "falcon_mamba", "FalconMambaForCausalLM", {**SMALL, "state_size": 4}, cache="cache_params"
    ),
    Family(
        "jamba",
        "JambaForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "use_mamba_kernels": False,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 2,
        },
        layers=1,
    ),
    Family(
        "zamba",
        "ZambaForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "n_mamba_heads": 2,
            "use_mamba_kernels": False,
            "num_hidden_layers": 5,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
        },
        layers=5,
    ),
    Family(
        "mamba2",
        "Mamba2ForCausalLM",
        {**SMALL, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 4},
        cache="cache_params",
    ),
    Family(
        "zamba2",
        "Zamba2ForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "num_hidden_layers": 3,
            "mamba_d_state": 8,
            "n_mamba_heads": 8,
            "mamba_headdim": 8,
            "mamba_ngroups": 1,
            "chunk_size": 16,
            "layers_block_type": ["mamba", "hybrid", "mamba"],
            "use_mem_rope": True,
            "time_step_min": 1e-6,
        },
        layers=3,
    ),
    Family(
        "bamba",
        "BambaForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 4,
            "attn_layer_indices": [1],
        },
        layers=1,
    ),
    Family(
        "falcon_h1",
        "FalconH1ForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "mamba_d_ssm": 64,
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 4,
            "head_dim": 8,
        },
    ),
    Family(
        "nemotron_h",
        "NemotronHForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 2,
            "chunk_size": 4,
            "layers_block_type": ["mamba", "attention"],
            "head_dim": 8,
            "time_step_min": 1e-6,
        },
        layers=1,
    ),
    Family(
        "granitemoehybrid",
        "GraniteMoeHybridForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 4,
            "layer_types": ["mamba", "attention"],
            "shared_intermediate_size": 16,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "position_embedding_type": None,
        },
        layers=1,
    ),
    Family(
        "qwen3_next",
        "Qwen3NextForCausalLM",
        {**SMALL, **ATTENTION, **MOE, **GDN, "shared_expert_intermediate_size": 16},
        layers=1,
    ),
    Family(
        "qwen3_5",
        "Qwen3_5ForCausalLM",
        {**SMALL, **ATTENTION, **GDN},
        config_cls="Qwen3_5TextConfig",
        layers=1,
    ),
    Family(
        "qwen3_5_moe",
        "Qwen3_5MoeForCausalLM",
        {**SMALL, **ATTENTION, **MOE, **GDN, "shared_expert_intermediate_size": 16},
        config_cls="Qwen3_5MoeTextConfig",
        layers=1,
    ),
    Family(
        "olmo_hybrid",
        "OlmoHybridForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 12,
            "layer_types": ["linear_attention", "full_attention"],
        },
        layers=1,
    ),
    Family(
        "kimi_linear",
        "KimiLinearForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            **MOE,
            "num_key_value_heads": 4,
            "linear_num_heads": 4,
            "linear_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
            "kv_lora_rank": 8,
            "q_lora_rank": None,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
        },
        layers=1,
    ),
    Family(
        "bailing_hybrid",
        "BailingHybridForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            **MOE,
            "num_key_value_heads": 4,
            "linear_num_heads": 4,
            "linear_head_dim": 8,
            "layer_types": ["linear_attention", "full_attention"],
            "kv_lora_rank": 8,
            "q_lora_rank": None,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 8,
        },
        layers=1,
    ),
    Family(
        "minimax",
        "MiniMaxForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "block_size": 4,
            "layer_types": ["linear_attention", "full_attention"],
            "head_dim": 8,
        },
        layers=1,
    ),
    Family(
        "rwkv", "RwkvForCausalLM", {**SMALL, "attention_hidden_size": 32}, cache="state", batch=1
    ),
    Family(
        "recurrent_gemma",
        "RecurrentGemmaForCausalLM",
        {
            **SMALL,
            **ATTENTION,
            "lru_width": 32,
            "num_hidden_layers": 3,
            "attention_window_size": 16,
            "block_types": ["recurrent", "recurrent", "attention"],
        },
        position_ids=True,
    ),
    Family(
        "xlstm",
        "xLSTMForCausalLM",
        {**SMALL, "hidden_size": 128, "num_heads": 4},
        cache="cache_params",
    ),
]


BY_NAME = {family.model: family for family in FAMILIES}


def step_by_step(family: Family, model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """States of every recurrent layer after every token, (batch, time, state_dim), one by one."""
    mixers = recurrent_modules(model)
    states: dict[str, list[Tensor]] = {name: [] for name in mixers}
    cache: Any = None
    with torch.no_grad():
        for t in range(ids.shape[1]):
            given: dict[str, Any] = {family.cache: cache} if cache is not None else {}
            if family.position_ids:
                given["position_ids"] = torch.full((len(ids), 1), t)
            out = model(ids[:, t : t + 1], use_cache=True, **given)
            cache = getattr(out, family.cache, None)
            if cache is None:  # recurrent_gemma sets up its states wherever it is given no cache
                cache = transformers.DynamicCache(config=model.config)
            for name, mixer in mixers.items():
                state = READ.get(family.model, from_cache)(cache, mixer)
                states[name].append(state.detach().float().reshape(len(ids), -1).clone())
    return {name: torch.stack(s, dim=1) for name, s in states.items()}


def recurrent_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The mixers, told by their own class names."""
    endings = ("Mixer", "MambaLayer", "DeltaNet", "DeltaAttention", "LightningAttention")
    endings += ("RwkvSelfAttention", "Rglru", "xLSTMLayer")
    return {n: m for n, m in model.named_modules() if type(m).__name__.endswith(endings)}


def from_cache(cache: Any, mixer: Any) -> Tensor:
    layer = mixer.layer_idx
    if hasattr(cache, "get_recurrent_state"):
        return cache.get_recurrent_state(layer, state_idx=0)
    if hasattr(cache, "layers"):
        return cache.layers[layer].recurrent_states
    return cache.recurrent_states[layer]


READ: dict[str, Callable[[Any, Any], Tensor]] = {
    "minimax": lambda cache, mixer: cache.get_linear_cache(mixer.layer_idx),
    "rwkv": lambda cache, mixer: torch.cat([s[:, :, mixer.layer_id] for s in cache[2:]], dim=-1),
    "recurrent_gemma": lambda cache, mixer: mixer.recurrent_states,
    "xlstm": lambda cache, mixer: torch.cat(
        [s.flatten(1) for s in cache.rnn_state[mixer.oracle_index]], dim=-1
    ),
}


def module_of(model: nn.Module) -> Any:
    """The Python module in which a model's mixers are defined."""
    mixer = next(iter(recurrent_modules(model).values()))
    return importlib.import_module(type(mixer).__module__)
