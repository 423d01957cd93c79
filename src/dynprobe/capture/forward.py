"""What one forward pass of the whole model tells about its sequences.

The layers show states; the model's own arguments and its other modules show which steps are
valid, which tokens came in, which labels belong to them and what was read out.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.recurrences.observer import Call


@dataclass
class EmbeddingCall:
    """One call of an nn.Embedding: ids in, and a reference to what came out."""

    name: str
    ids: Tensor
    output: Tensor | None  # only until the forward pass ends


@dataclass(frozen=True)
class LinearCall:
    """One call of an nn.Linear that a layer's state may have fed.

    Attributes
    ----------
    parts : tuple of str
        Parts of the state it reads, in its own column order; empty if it is not fed by the state.
    when : {"final", "all", ""}
        Whether it read one state per sequence or every state.
    reason : str
        Why it is not a linear readout of this state.
    output : Tensor or None
        (batch, classes) or (batch, time, classes).
    source : Call
        The layer's call, or the last of a loop of calls, whose state it read.
    """

    name: str
    layer: str
    parts: tuple[str, ...]
    when: str
    reason: str
    output: Tensor | None
    source: Call


@dataclass
class Forward:
    """One forward pass of the attached model."""

    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    lengths: Tensor | None = None
    labels: Tensor | None = None
    embeddings: list[EmbeddingCall] = field(default_factory=list)
    linears: list[LinearCall] = field(default_factory=list)


def read_arguments(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], lengths_name: str | None
) -> Forward:
    """Pick out of a model's arguments what describes its sequences, by name.

    Parameters
    ----------
    lengths_name : str or None
        The argument that holds lengths (sequences,) or a mask (sequences, time); by default
        ``attention_mask`` and ``lengths`` are looked for.
    """
    try:
        given = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        given = dict(kwargs)
    extra = given.pop("kwargs", None)
    if isinstance(extra, Mapping):
        given = {**given, **extra}

    def tensor(name: str) -> Tensor | None:
        value = given.get(name)
        if isinstance(value, (list, tuple)) and value and all(isinstance(v, int) for v in value):
            value = torch.tensor(value)
        return value.detach().clone() if isinstance(value, Tensor) else None

    forward = Forward(input_ids=tensor("input_ids"), labels=tensor("labels"))
    if lengths_name is None:
        forward.attention_mask, forward.lengths = tensor("attention_mask"), tensor("lengths")
        return forward
    value = tensor(lengths_name)
    if value is not None and value.dim() == 2:
        forward.attention_mask = value
    else:
        forward.lengths = value
    return forward
