"""One model of a comparison: its memory, its stream, and what they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from dynprobe.analyzers.answers import Labels
from dynprobe.capture.stream import Stream
from dynprobe.errors import (
    DynprobeError,
    LargeStatesError,
    NothingRecordedError,
    ReadoutError,
    ShapeError,
)
from dynprobe.probe import Probe
from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.state_matrix import PER_NORMALISER, STATE

#: A probe, and a stream beside it where the classifier does not read the recurrence's state.
Given: TypeAlias = Probe | tuple[Probe, Stream]


@dataclass(frozen=True)
class Side:
    """One model.

    Attributes
    ----------
    name : str
        What the comparison calls it.
    memory : Recording
        States of its recurrence.
    recurrence : Recurrence
        The map of these.
    readout : Readout or str
        The linear readout of the memory, or why there is none.
    stream : Recording or str
        The vectors its classifier reads, or why they are unknown.
    parameters : int
        Of the whole model.
    """

    name: str
    memory: Recording
    recurrence: Recurrence
    readout: Readout | str
    stream: Recording | str
    parameters: int

    @property
    def memory_of(self) -> str:
        """Which states the geometry of the memory is about: what the layer itself reads.

        A sum with a normaliser grows with time, and is never read as it is.
        """
        form = self.memory.form
        return PER_NORMALISER if form is not None and form.normaliser else STATE

    @property
    def logits(self) -> Tensor | None:
        """(sequences, classes), of the last valid step."""
        for recording in (self.memory, self.stream):
            if isinstance(recording, Recording) and recording.final_logits is not None:
                return recording.final_logits
        if isinstance(self.readout, Readout):
            return self.readout(self.memory.final)
        return None

    @property
    def labels(self) -> Tensor | None:
        """As they were recorded, where they are known."""
        return self.memory.labels

    def answers(self, labels: Tensor | None) -> Answers | None:
        """What it answers to each sequence, and the labels that judge it; None without logits."""
        logits = self.logits
        if logits is None:
            return None
        known = Labels.of(labels, logits.shape[-1])
        return Answers(known.answers(logits), known, Labels(None).answers(logits))


@dataclass(frozen=True)
class Answers:
    """Answers of one model.

    Attributes
    ----------
    given : Tensor
        (sequences,) classes, or (sequences, labels) of 0 and 1.
    labels : Labels
        What judges them.
    largest : Tensor
        (sequences,), the class of the largest logit.
    """

    given: Tensor
    labels: Labels
    largest: Tensor


def sides_of(models: Mapping[str, Given], layers: Mapping[str, str] | None) -> list[Side]:
    """Take apart what was given, and check that all models saw the same sequences.

    Raises
    ------
    ShapeError
        If there are fewer than two models, or they saw different sequences; says where.
    NothingRecordedError, NonFiniteStatesError
        If a model has no states, or such that hold NaN or Inf.
    """
    if len(models) < 2:
        raise ShapeError(f"A comparison needs at least two models, got {len(models)}.")
    unknown = set(layers or ()) - set(models)
    if unknown:
        raise ShapeError(f"layers= names {', '.join(sorted(unknown))}, which is no model given.")
    sides = [side_of(name, given, (layers or {}).get(name)) for name, given in models.items()]
    for side in sides[1:]:
        _check_same(sides[0], side)
    return sides


def side_of(name: str, given: Given, layer: str | None = None) -> Side:
    """Take one model apart; `layer` is the key of its memory, by default of the last recurrence.

    Raises
    ------
    NothingRecordedError, NonFiniteStatesError
        If it has no states, or such that hold NaN or Inf.
    """
    probe, stream = given if isinstance(given, tuple) else (given, None)
    if not isinstance(probe, Probe):
        raise TypeError(
            f"{name!r} is a {type(probe).__name__}; give a Probe, or (probe, stream) with a "
            "dynprobe.Stream."
        )
    key = probe.layers[-1].key if layer is None else layer
    memory = probe.recording(key)
    if len(memory) == 0 or int(memory.lengths.sum()) == 0:
        raise NothingRecordedError(f"{name!r} has no valid step recorded of {memory.layer!r}.")
    memory.check_finite()
    readout: Readout | str
    try:
        readout = probe.readout(key)
    except ReadoutError as error:
        readout = str(error)
    return Side(
        name=name,
        memory=memory,
        recurrence=probe.recurrence(key),
        readout=readout,
        stream=_stream(memory, readout, stream),
        parameters=sum(p.numel() for p in probe.model.parameters()),
    )


def _stream(memory: Recording, readout: Readout | str, given: Stream | None) -> Recording | str:
    if given is not None:
        try:
            return given.recording(memory)
        except DynprobeError as error:
            return str(error)
    if isinstance(readout, str):
        return (
            "not recorded: the classifier does not read this recurrence. Run the model with "
            "dynprobe.Stream(model) beside the probe and give (probe, stream)"
        )
    return _as_read(memory, readout)


def _as_read(memory: Recording, readout: Readout) -> Recording | str:
    """The parts of the state that the readout reads."""
    try:
        states = memory.states
    except LargeStatesError as error:
        return str(error)
    used = readout.weight.any(0).cpu()
    layout = memory.layout
    parts = [n for n in layout.names if bool(used[layout.slice(n)].any())] or list(layout.names)
    if parts == list(layout.names):
        return memory if memory.readout is not None else _with(memory, states, readout)
    columns = torch.cat([torch.arange(layout.size)[layout.slice(n)] for n in parts])
    read = Readout(readout.weight[:, columns.to(readout.weight.device)], readout.bias, readout.name)
    return _with(memory, states[..., columns.to(states.device)], read)


def _with(memory: Recording, states: Tensor, readout: Readout) -> Recording:
    found = Recording.from_arrays(
        states,
        lengths=memory.lengths,
        tokens=memory.tokens,
        labels=memory.labels,
        logits=memory.logits,
        layer=f"stream of {readout.name}",
        vocabulary=memory.meta.vocabulary,
        classes=memory.meta.classes,
    )
    found.readout = readout
    return found


def _check_same(a: Side, b: Side) -> None:
    """Raise ShapeError unless both saw the same sequences, in the same order."""
    x, y = a.memory, b.memory
    both = f"{a.name!r} and {b.name!r} did not see the same sequences"
    again = "Run every model once over the same batches, in the same order."
    if len(x) != len(y):
        raise ShapeError(f"{both}: {len(x)} and {len(y)} were recorded. {again}")
    differ = (x.lengths != y.lengths).nonzero().flatten()
    if len(differ):
        i = int(differ[0])
        raise ShapeError(
            f"{both}: sequence {i} has {int(x.lengths[i])} steps in one and {int(y.lengths[i])} in "
            f"the other. {again}"
        )
    for what, p, q in (("tokens", x.tokens, y.tokens), ("labels", x.labels, y.labels)):
        if p is None or q is None:
            continue
        if what == "labels":
            p, q = (x.squeeze(1) if x.dim() == 2 and x.shape[1] == 1 else x for x in (p, q))
            if p.shape != q.shape:
                raise ShapeError(
                    f"{a.name!r} and {b.name!r} have labels of shapes {tuple(p.shape)} and "
                    f"{tuple(q.shape)}: give both the same ones."
                )
        time = min(p.shape[1], q.shape[1]) if p.dim() > 1 else None
        p, q = p[:, :time].cpu() if time else p.cpu(), q[:, :time].cpu() if time else q.cpu()
        unlike = p != q
        if what == "tokens":
            unlike &= torch.arange(p.shape[1]) < x.lengths[:, None]
        if bool(unlike.any()):
            i = (
                int(unlike.flatten(1).any(1).nonzero()[0])
                if p.dim() > 1
                else int(unlike.nonzero()[0])
            )
            raise ShapeError(f"{both}: the {what} of sequence {i} differ. {again}")
