"""The linear transformer: embeddings, blocks of linear attention and feed-forward layers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast

from dynprobe.errors import CacheError, ShapeError
from dynprobe.nn.linear_transformer.attention import CausalMixer, EncoderMixer
from dynprobe.nn.linear_transformer.cache import LinearTransformerCache
from dynprobe.nn.linear_transformer.configuration import LinearTransformerConfig
from dynprobe.nn.linear_transformer.positions import sinusoidal


class LinearTransformerBlock(GradientCheckpointingLayer):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: LinearTransformerConfig, layer_idx: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = (CausalMixer if config.causal else EncoderMixer)(config, layer_idx)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(config.hidden_size, config.intermediate_size),
            ACT2FN[config.hidden_act],
            nn.Linear(config.intermediate_size, config.hidden_size),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        past_key_values: LinearTransformerCache | None = None,
    ) -> Tensor:
        """(batch, time, hidden) -> (batch, time, hidden)."""
        mixed = self.attention(self.attention_norm(hidden_states), mask, positions, past_key_values)
        hidden_states = hidden_states + self.dropout(mixed)
        out: Tensor = hidden_states + self.dropout(self.mlp(self.mlp_norm(hidden_states)))
        return out


class LinearTransformerPreTrainedModel(PreTrainedModel):
    """What all linear transformers share: loading, saving, initial weights."""

    config: LinearTransformerConfig
    config_class = LinearTransformerConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["LinearTransformerBlock"]
    # A state cannot be put back by some tokens, which assisted decoding would need.
    _is_stateful = True

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """The model makes its own cache; transformers would make one of keys and values."""
        return False


class LinearTransformerModel(LinearTransformerPreTrainedModel):
    """A stack of linear attention blocks without a head.

    Katharopoulos et al. 2020 (arXiv 2006.16236), with a norm before each sublayer. Causal unless
    the configuration says otherwise; then it decodes through a cache of constant size.

    Parameters
    ----------
    config : LinearTransformerConfig
    """

    def __init__(self, config: LinearTransformerConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_positions = None
        if config.position_embedding == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            LinearTransformerBlock(config, i) for i in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: LinearTransformerCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPast | tuple[Tensor, ...]:
        """Hidden states of every token.

        Parameters
        ----------
        input_ids, inputs_embeds : Tensor
            (batch, time) ids or (batch, time, hidden), one of them.
        attention_mask : Tensor, optional
            (batch, time) or, with a cache, (batch, time so far + time): 0 at padding, on either
            side. Padding takes no part in any state and no position.
        past_key_values : LinearTransformerCache, optional
            States after the tokens before; written with those after these.
        use_cache : bool, optional
            Return the cache; by default as configured, and not while training.

        Returns
        -------
        BaseModelOutputWithPast
            `last_hidden_state` (batch, time, hidden), `past_key_values`, `hidden_states` if asked
            for (before each block, and the last).

        Raises
        ------
        ShapeError
            If not exactly one of the inputs is given, the mask does not fit, or a learned position
            is beyond the last.
        CacheError
            If the cache is another one than :class:`LinearTransformerCache`.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ShapeError("Give either input_ids or inputs_embeds.")
        hidden: Tensor = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        batch, steps = hidden.shape[:2]
        cache = self._cache(past_key_values, use_cache)
        mask = _local_mask(attention_mask, batch, steps)
        positions = _positions(mask, batch, steps, cache, hidden.device)
        hidden = self.dropout(self._placed(hidden, positions))
        if output_hidden_states is None:
            output_hidden_states = bool(self.config.output_hidden_states)
        seen: list[Tensor] = []
        for block in self.layers:
            seen.append(hidden)
            hidden = block(hidden, mask=mask, positions=positions, past_key_values=cache)
        hidden = self.norm(hidden)
        out = BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=cache,
            hidden_states=(*seen, hidden) if output_hidden_states else None,
        )
        if return_dict is None:
            return_dict = bool(self.config.return_dict)
        return out if return_dict else out.to_tuple()

    def _cache(
        self, given: LinearTransformerCache | None, use_cache: bool | None
    ) -> LinearTransformerCache | None:
        if given is not None and not isinstance(given, LinearTransformerCache):
            raise CacheError(
                f"past_key_values is a {type(given).__name__}; a linear transformer keeps states, "
                "not keys and values. Leave it out, or pass a dynprobe.nn.LinearTransformerCache."
            )
        if self.training and self.gradient_checkpointing:
            return None  # the second run of a block would update it again
        if use_cache is None:
            use_cache = bool(self.config.use_cache) and not self.training
        if given is None and use_cache and self.config.causal:
            return LinearTransformerCache(self.config.num_hidden_layers)
        return given

    def _placed(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Embeddings with their positions added, where these are added."""
        if self.config.position_embedding == "sinusoidal":
            return hidden + sinusoidal(positions, hidden.shape[-1]).to(hidden)
        if self.embed_positions is None:
            return hidden
        last = self.config.max_position_embeddings - 1
        if not torch.compiler.is_compiling() and positions.numel() and int(positions.max()) > last:
            raise ShapeError(
                f"The text reaches position {int(positions.max())}, but positions are learned up "
                f"to {last}. Use position_embedding='sinusoidal' for texts of any length."
            )
        placed: Tensor = hidden + self.embed_positions(positions)
        return placed


def _local_mask(mask: Tensor | None, batch: int, steps: int) -> Tensor | None:
    """(batch, steps) bool, False at padding; None if there is none."""
    if mask is None:
        return None
    if mask.dim() != 2 or mask.shape[0] != batch or mask.shape[1] < steps:
        raise ShapeError(
            f"attention_mask is {tuple(mask.shape)}; it must be (batch, time) = ({batch}, {steps}) "
            "or longer, with 0 at padding. Linear attention takes no mask of query-key pairs."
        )
    local = mask[:, mask.shape[1] - steps :] != 0
    return None if not torch.compiler.is_compiling() and bool(local.all()) else local


def _positions(
    mask: Tensor | None,
    batch: int,
    steps: int,
    cache: LinearTransformerCache | None,
    device: torch.device,
) -> Tensor:
    """(batch or 1, steps): tokens that count, counted from 0; and count them in the cache."""
    if mask is None:
        positions = torch.arange(steps, device=device)[None]
        counts = torch.full((batch,), steps, device=device)
    else:
        positions, counts = (mask.cumsum(1) - 1).clamp(min=0), mask.sum(1)
    if cache is not None:
        if cache.seen is not None:
            positions = positions + cache.seen[:, None]
        cache.advance(counts, steps)
    return positions
