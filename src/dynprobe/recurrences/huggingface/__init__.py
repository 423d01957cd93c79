"""Mixers of Hugging Face transformers, by the qualified names of their classes.

Nothing of transformers is imported: a model that holds one of these classes has imported it.
Wrappers work because the mixer's class is matched, wherever it sits. One file per family.
"""

from __future__ import annotations

import importlib

from dynprobe.recurrences.observer import Observer

_HERE = "dynprobe.recurrences.huggingface"
#: Family -> (file, observer class, (model, mixer class), ...)
_FAMILIES: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("mamba1", "Mamba1Observer"): (
        ("mamba", "MambaMixer"),
        ("falcon_mamba", "FalconMambaMixer"),
        ("jamba", "JambaMambaMixer"),
        ("zamba", "ZambaMambaMixer"),
    ),
    ("mamba2", "Mamba2Observer"): (
        ("mamba2", "Mamba2Mixer"),
        ("zamba2", "Zamba2MambaMixer"),
        ("bamba", "BambaMixer"),
        ("falcon_h1", "FalconH1Mixer"),
        ("nemotron_h", "NemotronHMamba2Mixer"),
        ("granitemoehybrid", "GraniteMoeHybridMambaLayer"),
    ),
    ("delta_rule", "DeltaRuleObserver"): (
        ("qwen3_next", "Qwen3NextGatedDeltaNet"),
        ("qwen3_5", "Qwen3_5GatedDeltaNet"),
        ("qwen3_5_moe", "Qwen3_5MoeGatedDeltaNet"),
        ("olmo_hybrid", "OlmoHybridGatedDeltaNet"),
        ("kimi_linear", "KimiLinearDeltaAttention"),
        ("bailing_hybrid", "BailingHybridDeltaAttention"),
    ),
    ("lightning", "LightningObserver"): (("minimax", "MiniMaxLightningAttention"),),
    ("rwkv4", "Rwkv4Observer"): (("rwkv", "RwkvSelfAttention"),),
    ("rg_lru", "RgLruObserver"): (("recurrent_gemma", "RecurrentGemmaRglru"),),
    ("mlstm", "MLSTMObserver"): (("xlstm", "xLSTMLayer"),),
}
#: Qualified class name -> file and observer class.
MIXERS: dict[str, tuple[str, str]] = {
    f"transformers.models.{model}.modeling_{model}.{mixer}": where
    for where, mixers in _FAMILIES.items()
    for model, mixer in mixers
}
#: Modules that only filter: a finite impulse response has no recurrent state.
CONVOLUTIONS = frozenset(
    {
        "transformers.models.lfm2.modeling_lfm2.Lfm2ShortConv",
        "transformers.models.lfm2_moe.modeling_lfm2_moe.Lfm2MoeShortConv",
    }
)


def observer_of(qualified_name: str) -> Observer | None:
    """The observer of a mixer class, or None."""
    where = MIXERS.get(qualified_name)
    if where is None:
        return None
    observer: Observer = getattr(importlib.import_module(f"{_HERE}.{where[0]}"), where[1])()
    return observer
