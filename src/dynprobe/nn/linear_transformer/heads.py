"""A linear transformer that writes, and one that classifies."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast, SequenceClassifierOutputWithPast

from dynprobe.nn.linear_transformer.cache import LinearTransformerCache
from dynprobe.nn.linear_transformer.configuration import LinearTransformerConfig
from dynprobe.nn.linear_transformer.model import (
    LinearTransformerModel,
    LinearTransformerPreTrainedModel,
)


class LinearTransformerForCausalLM(LinearTransformerPreTrainedModel, GenerationMixin):
    """A linear transformer that predicts the next token.

    ``generate()`` decodes through a :class:`LinearTransformerCache`: a token costs the same at
    every position.

    Raises
    ------
    ValueError
        If the configuration is that of an encoder.
    """

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: LinearTransformerConfig) -> None:
        super().__init__(config)
        if not config.causal:
            raise ValueError("A language model must be causal; this configuration is an encoder's.")
        self.model = LinearTransformerModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: LinearTransformerCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **loss_kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple[Tensor, ...]:
        """Logits of the next token, (batch, time, vocab_size), and their loss.

        `labels` (batch, time) are the ids themselves: they are shifted here; -100 is left out.
        `logits_to_keep` are the last so many positions (0: all), or their indices. The other
        arguments are those of :class:`LinearTransformerModel`.
        """
        out = self.model(
            input_ids,
            attention_mask,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_hidden_states,
            return_dict=True,
        )
        kept = logits_to_keep
        at = slice(-kept if kept else None, None) if isinstance(kept, int) else kept
        logits = self.lm_head(out.last_hidden_state[:, at])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **loss_kwargs
            )
        result = CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
        )
        return _returned(result, return_dict, self.config)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """As in transformers, with padding on the right of a prompt brought to its left.

        Generation goes on from the last column, which must be a token of every sequence. Padding
        takes part in nothing here, so that the prompt means the same.
        """
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, inputs_embeds=inputs_embeds, **kwargs
        )
        mask = inputs.get("attention_mask")
        if mask is None or bool(mask[:, -1].all()):
            return inputs
        name = "input_ids" if inputs.get("input_ids") is not None else "inputs_embeds"
        given = inputs[name]
        before, local = mask.tensor_split([mask.shape[1] - given.shape[1]], dim=1)
        order = (local != 0).to(torch.uint8).argsort(dim=1, stable=True)
        inputs["attention_mask"] = torch.cat([before, local.gather(1, order)], dim=1)
        rows = torch.arange(len(given), device=given.device)[:, None]
        inputs[name] = given[rows, order]
        return inputs


class LinearTransformerForSequenceClassification(LinearTransformerPreTrainedModel):
    """A linear transformer with one linear readout of the last valid token, or of the mean."""

    def __init__(self, config: LinearTransformerConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = LinearTransformerModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: LinearTransformerCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutputWithPast | tuple[Tensor, ...]:
        """Logits (batch, num_labels) and, with `labels`, their loss.

        Without an `attention_mask`, tokens that are ``config.pad_token_id`` are padding; if that
        is None too, every token counts.
        """
        if attention_mask is None and input_ids is not None:
            padding = self.config.pad_token_id
            attention_mask = None if padding is None else (input_ids != padding).long()
        out = self.model(
            input_ids,
            attention_mask,
            past_key_values,
            inputs_embeds,
            use_cache,
            output_hidden_states,
            return_dict=True,
        )
        pooled = _pooled(out.last_hidden_state, attention_mask, self.config.classifier_pooling)
        logits = self.score(pooled)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, pooled_logits=logits, config=self.config
            )
        result = SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=out.past_key_values,
            hidden_states=out.hidden_states,
        )
        return _returned(result, return_dict, self.config)


def _pooled(hidden: Tensor, mask: Tensor | None, how: str) -> Tensor:
    """(batch, time, hidden) -> (batch, hidden): the last valid token, or the mean of valid ones."""
    if mask is None:
        return hidden[:, -1] if how == "last" else hidden.mean(1)
    valid = mask[:, mask.shape[1] - hidden.shape[1] :] != 0
    if how == "mean":
        kept = hidden.masked_fill(~valid[..., None], 0)
        return kept.sum(1) / valid.sum(1, keepdim=True).clamp(min=1).to(hidden)
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    last = torch.where(valid, steps, 0).amax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _returned(out: Any, return_dict: bool | None, config: LinearTransformerConfig) -> Any:
    wanted = config.return_dict if return_dict is None else return_dict
    return out if wanted else out.to_tuple()
