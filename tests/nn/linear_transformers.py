"""Small linear transformers, and what their attention is by its definition."""

from __future__ import annotations

import torch

from dynprobe.nn import LinearTransformerConfig, LinearTransformerForCausalLM

VOCABULARY = 40
VARIANTS = {
    "elu": {},
    "relu": {"feature_map": "relu"},
    "squared_relu, no positions": {"feature_map": "squared_relu", "position_embedding": "none"},
    "favor": {"feature_map": "favor", "num_features": 12},
    "learned positions": {"position_embedding": "learned", "max_position_embeddings": 300},
    "retnet": {"decay": "retnet", "normalize": False, "position_embedding": "rotary"},
    "decay": {"decay": [0.5, 0.9, 0.99, 1.0]},
    "rotary": {"position_embedding": "rotary", "normalize": False},
}


def config(**changes):
    small = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "chunk_size": 8,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.3,  # outputs that depend on their inputs
    }
    return LinearTransformerConfig(**(small | changes))


def language_model(dtype=torch.float64, **changes):
    torch.manual_seed(1)
    return (
        LinearTransformerForCausalLM(config(tie_word_embeddings=False, **changes)).to(dtype).eval()
    )


def some_ids(batch, steps):
    return torch.randint(3, VOCABULARY, (batch, steps))


def weights(q, k, rates, *, causal=True):
    """All weights of features q and k, (batch, heads, time, time)."""
    t = torch.arange(q.shape[2])
    distance = (t[:, None] - t).clamp(min=0)
    scores = (q @ k.mT) * rates.to(q)[:, None, None] ** distance
    return scores.tril() if causal else q @ k.mT
