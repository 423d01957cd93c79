"""Logits after one more word, as a function of the memory: every kind of model of the survey.

The word is the probe, the same for all sequences. A model without a convolution reads it in the
state that a sequence left behind. Mamba's convolution sees nothing but probe words then, so that
its logits, too, depend on the sequence through the memory alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dynprobe.comparison.sides import Side
from dynprobe.errors import ReadoutError
from dynprobe.nn import LinearTransformerCache, MambaClassifier, RNNClassifier
from dynprobe.nn.mamba.mixer import MambaBlock
from dynprobe.readout import Readout
from dynprobe.study.models import LinearTransformerClassifier

#: Called as read(states of each layer, (points, state_dim) each): (points, classes) logits.
Read = Callable[[Sequence[Tensor]], Tensor]


def reader(model: nn.Module, sides: Sequence[Side], word: int) -> Read:
    """What a model answers from given memories, after one more word.

    Parameters
    ----------
    model
        In evaluation mode.
    sides
        One for each of its recurrences, the lowest first, recorded.
    word
        Id of the probe word.

    Raises
    ------
    ReadoutError
        For a model that is none of the survey's, or a word that was never recorded.
    """
    if isinstance(model, RNNClassifier):
        return _recurrent(sides[0], word)
    if isinstance(model, LinearTransformerClassifier):
        return _transformer(model, sides, word)
    if isinstance(model, MambaClassifier) and len(model.layers) == 1:
        return _mamba(model, word)
    raise ReadoutError(f"How a {type(model).__name__} reads its memory is not known here.")


def _recurrent(side: Side, word: int) -> Read:
    memory, readout = side.memory, side.readout
    assert memory.tokens is not None
    assert memory.inputs is not None
    assert isinstance(readout, Readout)
    found = memory.inputs[(memory.tokens == word) & memory.mask]
    if len(found) == 0:
        raise ReadoutError(f"Word {word} is in no recorded sequence. Take another probe word.")

    def read(states: Sequence[Tensor]) -> Tensor:
        (state,) = states
        after = side.recurrence.step(state, found[:1].to(state).expand(len(state), -1))
        logits = after @ readout.weight.to(after).T
        return logits if readout.bias is None else logits + readout.bias.to(after)

    return read


def _transformer(model: LinearTransformerClassifier, sides: Sequence[Side], word: int) -> Read:
    forms = [side.memory.form for side in sides]

    def read(states: Sequence[Tensor]) -> Tensor:
        cache = LinearTransformerCache(len(forms))
        for layer, form, state in zip(cache.layers, forms, states, strict=True):
            assert form is not None
            matrix = form.matrix(state)
            layer.state = (matrix[..., :-1], matrix[..., -1])
        ids = torch.full((len(states[0]), 1), word)
        logits: Tensor = model.transformer(input_ids=ids, past_key_values=cache).logits
        return logits

    return read


def _mamba(model: MambaClassifier, word: int) -> Read:
    block = model.layers[0]
    assert isinstance(block, MambaBlock)
    mixer = block.mixer

    def read(states: Sequence[Tensor]) -> Tensor:
        (state,) = states
        hidden = model.embeddings(torch.full((1, mixer.conv_kernel), word))
        window = block.norm(hidden).expand(len(state), -1, -1)
        out, _ = mixer.step(window, state.unflatten(1, tuple(mixer.A_log.shape)))
        logits: Tensor = model.readout(model.norm_f(hidden[:, -1] + out))
        return logits

    return read
