"""Models by kind, all called as model(tokens, lengths) and read out linearly at the last token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynprobe.errors import UnknownNameError, suggest
from dynprobe.nn import (
    LinearTransformerConfig,
    LinearTransformerForSequenceClassification,
    RNNClassifier,
)

KINDS = ("gru", "lstm", "linear_transformer")


class LinearTransformerClassifier(nn.Module):
    """A linear transformer whose padding is told by lengths.

    Without position encoding: order is then known to it as little as to a counter.

    Parameters
    ----------
    vocabulary_size, n_classes : int
        Words, special ones included, and classes.
    hidden_size, layers, heads : int
        Of the transformer; its feed-forward layers are twice as wide.
    dropout : float
        Of embeddings and of what each sublayer adds.
    seed : int
        Of the initial weights; the global random state is left alone.
    """

    def __init__(
        self,
        vocabulary_size: int,
        n_classes: int,
        *,
        hidden_size: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        config = LinearTransformerConfig(
            vocab_size=vocabulary_size,
            num_labels=n_classes,
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            position_embedding="none",
            dropout=dropout,
            tie_word_embeddings=False,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.transformer = LinearTransformerForSequenceClassification(config)

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, time) word ids and (batch,) lengths -> (batch, n_classes) logits."""
        mask = None
        if lengths is not None and bool((lengths < input_ids.shape[1]).any()):
            steps = torch.arange(input_ids.shape[1], device=input_ids.device)
            mask = (steps < lengths[:, None].to(input_ids.device)).long()
        logits: Tensor = self.transformer(input_ids, attention_mask=mask, use_cache=False).logits
        return logits


def build_model(
    kind: str,
    vocabulary_size: int,
    n_classes: int,
    *,
    hidden_size: int = 64,
    embedding_size: int | None = None,
    dropout: float = 0.0,
    padding_idx: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """Build a classifier of token sequences.

    Parameters
    ----------
    kind : {"gru", "lstm", "linear_transformer"}
        What carries the memory.
    vocabulary_size, n_classes : int
        Words, special ones included, and classes.
    hidden_size : int
        Units of a recurrent layer, width of a transformer of two layers and four heads.
    embedding_size : int, optional
        Of a recurrent model; one-hot words without it. A transformer embeds in `hidden_size`.
    dropout : float
        Of the embedding; of a transformer in every sublayer.
    padding_idx : int, optional
        Id of the padding word of a recurrent model.
    seed : int
        Of the initial weights.

    Raises
    ------
    UnknownNameError
        For another kind.
    """
    if kind == "linear_transformer":
        return LinearTransformerClassifier(
            vocabulary_size, n_classes, hidden_size=hidden_size, dropout=dropout, seed=seed
        )
    if kind not in KINDS:
        raise UnknownNameError(f"There is no kind of model {kind!r}. {suggest(kind, KINDS)}")
    return RNNClassifier(
        vocabulary_size,
        n_classes,
        cell=kind,
        hidden_size=hidden_size,
        embedding_size=embedding_size,
        dropout=dropout,
        padding_idx=padding_idx,
        generator=torch.Generator().manual_seed(seed),
    )
