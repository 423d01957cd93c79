"""The Mamba classifier around the MambaModel of Hugging Face transformers, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import MambaConfig, MambaModel

from dynprobe.nn.mamba.classifier import MambaClassifier, last_valid
from dynprobe.nn.mamba.mixer import NORM_EPS, MambaBlock


class TransformersMambaClassifier(nn.Module):
    """A MambaModel whose last valid output is read out linearly.

    Parameters
    ----------
    model : transformers.MambaModel
        Gives hidden states, the final norm included.
    readout : nn.Linear
        From its hidden size to logits.
    """

    def __init__(self, model: MambaModel, readout: nn.Linear) -> None:
        super().__init__()
        self.model = model
        self.readout = readout

    def forward(self, input_ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(batch, time) word ids and (batch,) lengths -> (batch, n_classes) logits."""
        mask = None
        if lengths is not None and bool((lengths < input_ids.shape[1]).any()):
            steps = torch.arange(input_ids.shape[1], device=input_ids.device)
            mask = (steps < lengths[:, None].to(input_ids.device)).long()
        out = self.model(input_ids, attention_mask=mask, use_cache=False)
        logits: Tensor = self.readout(last_valid(out.last_hidden_state, lengths))
        return logits


def to_transformers(classifier: MambaClassifier) -> TransformersMambaClassifier:
    """See :meth:`MambaClassifier.to_transformers`."""
    first = classifier.layers[0]
    assert isinstance(first, MambaBlock)
    mixer = first.mixer
    words, hidden = classifier.embeddings.weight.shape
    config = MambaConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=len(classifier.layers),
        state_size=mixer.state_size,
        conv_kernel=mixer.conv_kernel,
        expand=len(mixer.D) // hidden,
        layer_norm_epsilon=NORM_EPS,
        pad_token_id=classifier.embeddings.padding_idx,
        bos_token_id=None,
        eos_token_id=None,
    )
    like = classifier.readout.weight
    # first weights, replaced below, are drawn from the global random state
    with torch.random.fork_rng(devices=[]):
        model = MambaModel(config)
        readout = nn.Linear(hidden, len(like), bias=False)
    found = TransformersMambaClassifier(model, readout).to(like.device, like.dtype)
    weights = classifier.state_dict()
    found.readout.load_state_dict({"weight": weights.pop("readout.weight")})
    found.model.load_state_dict(weights)
    return found.train(classifier.training)


def from_transformers(model: TransformersMambaClassifier) -> MambaClassifier:
    """See :meth:`MambaClassifier.from_transformers`."""
    config = model.model.config
    rank = -(-config.hidden_size // 16)
    for name, value, wanted in (
        ("use_bias", config.use_bias, False),
        ("use_conv_bias", config.use_conv_bias, True),
        ("hidden_act", config.hidden_act, "silu"),
        ("time_step_rank", config.time_step_rank, rank),
        ("layer_norm_epsilon", config.layer_norm_epsilon, NORM_EPS),
        ("readout.bias", model.readout.bias is not None, False),
    ):
        if value != wanted:
            raise ValueError(
                f"{name} is {value}, and a MambaClassifier has {wanted}. Keep this model as it is: "
                "a probe reads it, too."
            )
    like, padding = model.readout.weight, config.pad_token_id
    # transformers names a padding word by default; where it has a vector, it is a word like others
    if padding is not None and bool(model.model.embeddings.weight[padding].any()):
        padding = None
    found = MambaClassifier(
        config.vocab_size,
        len(like),
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        state_size=config.state_size,
        conv_kernel=config.conv_kernel,
        expand=config.expand,
        padding_idx=padding,
    ).to(like.device, like.dtype)
    weights = {**model.model.state_dict(), "readout.weight": like}
    found.load_state_dict(weights)
    return found.train(model.training)
