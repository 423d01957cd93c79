"""What one forward pass of the whole model tells about its sequences.

The layers show states; the model's own arguments and its other modules show which steps are
valid, which tokens came in, which labels belong to them and what was read out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.recurrences.arguments import bound_arguments
from dynprobe.recurrences.observer import Call


@dataclass
class EmbeddingCall:
    """One call of an nn.Embedding: ids in, and a reference to what came out."""

    name: str
    ids: Tensor
    output: Tensor | None  # only until the forward pass ends
    padding: int | None = None  # the id that stands for no token


@dataclass(frozen=True)
class Fed:
    """Which embedding call a layer's input came from, and from which step of it on."""

    embedding: EmbeddingCall
    step: int


@dataclass
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
    is_output : bool
        Whether the model returned it, as it is or through softmax, log-softmax or sigmoid: the
        first layer of an MLP is fed by the state too, but it is no readout.
    """

    name: str
    layer: str
    parts: tuple[str, ...]
    when: str
    reason: str
    output: Tensor | None
    source: Call
    is_output: bool = False


@dataclass
class Forward:
    """One forward pass of the attached model."""

    input_ids: Tensor | None = None
    attention_mask: Tensor | None = None
    lengths: Tensor | None = None
    labels: Tensor | None = None
    embeddings: list[EmbeddingCall] = field(default_factory=list)
    linears: list[LinearCall] = field(default_factory=list)
    #: Calls of each layer (capture.tracer.TracedCall) while the pass lasts, and afterwards how
    #: many separate runs they were.
    calls: dict[str, list[Any]] = field(default_factory=dict, repr=False)
    #: The first position that a rotary embedding was given.
    position: int | None = None
    #: Whether it ended without an error.
    complete: bool = False
    runs: dict[str, int] = field(default_factory=dict)


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
        given = bound_arguments(model, args, kwargs)
    except (TypeError, ValueError):
        given = dict(kwargs)

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


def confirm_outputs(forward: Forward, returned: Any) -> None:
    """Mark the Linear calls whose output is part of what the model returned."""
    tensors = list(_tensors(returned))
    for call in forward.linears:
        if call.output is not None:
            call.is_output = any(_is_part(call.output, t.detach()) for t in tensors)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _is_part(logits: Tensor, returned: Tensor) -> bool:
    """Whether `returned` is the logits, perhaps squashed, or holds them as one step of many."""
    if returned.layout != torch.strided or not returned.is_floating_point():
        return False
    n = logits.numel()
    if n == 0 or returned.numel() % n:
        return False
    forms = [logits, logits.softmax(-1), logits.log_softmax(-1), logits.sigmoid()]
    if returned.numel() == n:
        # also squeezed, or time first
        candidates = [returned.reshape(-1)]
        if logits.dim() == returned.dim() == 3:
            candidates.append(returned.transpose(0, 1).reshape(-1))
    else:
        candidates = [
            returned.select(d, i).reshape(-1)
            for d in range(returned.dim())
            for i in (0, -1)
            if returned.shape[d] * n == returned.numel()
        ]
    return any(
        torch.allclose(form.reshape(-1), c.to(form), rtol=1e-5, atol=1e-7)
        for form in forms
        for c in candidates
    )
