"""Models by kind, all called as model(tokens, lengths) and read out linearly at the last token.

What each kind is:

* ``rnn``, ``ugrnn``, ``gru``, ``lstm``: one recurrent layer (vanilla tanh, update gate, ...) whose
  last state is read; options of an LSTM: ``readout_state`` "h" or "hc";
* ``linear_transformer``: two layers of four heads; options ``layers``, ``heads``, ``decay`` (None,
  "retnet" or a number), ``position_embedding`` ("none", "sinusoidal", "learned");
* ``mamba``: one block of Mamba-1; options ``layers``, ``state_size``, ``conv_kernel``, ``expand``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.errors import UnknownNameError, suggest
from dynprobe.nn import (
    LinearTransformerConfig,
    LinearTransformerForSequenceClassification,
    MambaClassifier,
    RNNClassifier,
)
from dynprobe.study.kinds import KINDS, Kind


class LinearTransformerClassifier(nn.Module):
    """A linear transformer whose padding is told by lengths.

    Without position encoding, by default: order is then known to it as little as to a counter.

    Parameters
    ----------
    vocabulary_size, n_classes : int
        Words, special ones included, and classes.
    hidden_size, layers, heads : int
        Of the transformer; its feed-forward layers are twice as wide.
    decay : "retnet", float or None
        What is left of a head's memory after a token, see
        :class:`dynprobe.nn.LinearTransformerConfig`; None is everything.
    position_embedding : str
        "none", "sinusoidal" or "learned".
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
        decay: str | float | None = None,
        position_embedding: str = "none",
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
            decay=decay,
            position_embedding=position_embedding,
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


@dataclass(frozen=True)
class Sizes:
    """What every kind is told; see :func:`build_model`."""

    vocabulary_size: int
    n_classes: int
    hidden_size: int
    embedding_size: int | None
    dropout: float
    padding_idx: int | None
    seed: int


def _recurrent(cell: str) -> Callable[..., nn.Module]:
    def build(sizes: Sizes, **options: Any) -> nn.Module:
        return RNNClassifier(
            sizes.vocabulary_size,
            sizes.n_classes,
            cell=cell,
            hidden_size=sizes.hidden_size,
            embedding_size=sizes.embedding_size,
            dropout=sizes.dropout,
            padding_idx=sizes.padding_idx,
            generator=torch.Generator().manual_seed(sizes.seed),
            **options,
        )

    return build


def _linear_transformer(sizes: Sizes, **options: Any) -> nn.Module:
    return LinearTransformerClassifier(
        sizes.vocabulary_size,
        sizes.n_classes,
        hidden_size=sizes.hidden_size,
        dropout=sizes.dropout,
        seed=sizes.seed,
        **options,
    )


def _mamba(sizes: Sizes, **options: Any) -> nn.Module:
    return MambaClassifier(
        sizes.vocabulary_size,
        sizes.n_classes,
        hidden_size=sizes.hidden_size,
        dropout=sizes.dropout,
        padding_idx=sizes.padding_idx,
        generator=torch.Generator().manual_seed(sizes.seed),
        **options,
    )


#: Kind -> what makes one of given sizes, and the names of its options.
BUILDERS: Mapping[str, tuple[Callable[..., nn.Module], tuple[str, ...]]] = {
    Kind.rnn: (_recurrent("rnn"), ()),
    Kind.ugrnn: (_recurrent("ugrnn"), ()),
    Kind.gru: (_recurrent("gru"), ()),
    Kind.lstm: (_recurrent("lstm"), ("readout_state",)),
    Kind.linear_transformer: (
        _linear_transformer,
        ("layers", "heads", "decay", "position_embedding"),
    ),
    Kind.mamba: (_mamba, ("layers", "state_size", "conv_kernel", "expand")),
}


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
    **options: Any,
) -> nn.Module:
    """Build a classifier of token sequences.

    Parameters
    ----------
    kind : str
        One of :class:`Kind`.
    vocabulary_size, n_classes : int
        Words, special ones included, and classes, or labels where several may hold at once.
    hidden_size : int
        Units of a recurrent layer, width of a transformer or of Mamba's blocks.
    embedding_size : int, optional
        Of a recurrent model; one-hot words without it. The others embed in `hidden_size`.
    dropout : float
        Of the embedding; of a transformer in every sublayer, of Mamba in every block.
    padding_idx : int, optional
        Id of the padding word; a transformer leaves out what is beyond the lengths.
    seed : int
        Of the initial weights.
    **options
        Of the kind, see above.

    Raises
    ------
    UnknownNameError
        For another kind, or an option that it does not have.
    """
    check_kind(kind)
    build, known = BUILDERS[kind]
    for option in options:
        if option not in known:
            raise UnknownNameError(
                f"A model of kind {kind!r} has no option {option!r}. {suggest(option, known)}"
            )
    sizes = Sizes(
        vocabulary_size, n_classes, hidden_size, embedding_size, dropout, padding_idx, seed
    )
    return build(sizes, **options)


def check_kind(kind: str) -> None:
    """Raise UnknownNameError unless there is such a kind."""
    if kind not in KINDS:
        raise UnknownNameError(f"There is no kind of model {kind!r}. {suggest(kind, KINDS)}")
