"""Hooks on: every call of the chosen layers, and what else the forward pass tells about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.capture.forward import EmbeddingCall, Forward, LinearCall, read_arguments
from dynprobe.capture.hooks import Handles
from dynprobe.capture.readouts import match
from dynprobe.errors import DynprobeError, SequenceError
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.observer import Call, Observer, Segment


@dataclass
class TracedCall:
    """One recorded call of a layer, with its place among the others."""

    call: Call
    forward: Forward
    continues: bool
    fed_by: EmbeddingCall | None
    segments: dict[str, Segment] = field(default_factory=dict)


@dataclass
class Layer:
    """A probed module: who reads it, and every call so far."""

    name: str
    module: nn.Module
    observer: Observer
    recurrences: dict[str, Recurrence]
    calls: list[TracedCall] = field(default_factory=list)

    @property
    def keys(self) -> dict[str, str]:
        """Key of each recurrence, such as "rnn.l0", and its suffix."""
        return {f"{self.name}.{s}" if s else self.name: s for s in self.recurrences}

    @property
    def top(self) -> Recurrence:
        """The recurrence that the bare name stands for."""
        return self.recurrences[self.observer.top(self.module)]

    def segment(self, traced: TracedCall, suffix: str) -> Segment:
        """States of one recurrence during one call, recovered once."""
        if suffix not in traced.segments:
            traced.segments[suffix] = self.observer.recover(self.module, suffix, traced.call)
        return traced.segments[suffix]

    def streams(self, forward: Forward | None = None) -> list[list[TracedCall]]:
        """Calls that continue each other, of one forward pass or of all."""
        out: list[list[TracedCall]] = []
        for traced in self.calls:
            if forward is not None and traced.forward is not forward:
                continue
            if traced.continues and out:
                out[-1].append(traced)
            else:
                out.append([traced])
        return out

    def materialize(self) -> None:
        """Recover everything that needs the weights as they are now."""
        for suffix in self.recurrences:
            if self.observer.lazy(self.module, suffix):
                for traced in self.calls:
                    # what cannot be recovered says so when it is asked for
                    with suppress(DynprobeError):
                        self.segment(traced, suffix)


class Tracer:
    """Registers the hooks and keeps what they see.

    Parameters
    ----------
    model : nn.Module
        Its own forward delimits what belongs together.
    layers : dict of Layer
        By module name.
    embeddings, linears : dict of nn.Module
        Possible sources of tokens and possible readouts, by name.
    lengths : str or None
        Name of the model's argument that holds lengths or a mask.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: dict[str, Layer],
        embeddings: Mapping[str, nn.Module],
        linears: Mapping[str, nn.Module],
        lengths: str | None,
    ) -> None:
        self.model = model
        self.layers = layers
        self.forwards = 0
        self._lengths = lengths
        self._depth = 0
        self._current: Forward | None = None
        self._forced: set[str] | None = None
        self._handles = Handles()
        self._handles.before(model, self._enter, "")
        for name, layer in layers.items():
            self._handles.after(layer.module, self._on_layer, name)
        for name, module in embeddings.items():
            self._handles.after(module, self._on_embedding, name)
        for name, module in linears.items():
            self._handles.after(module, self._on_linear, name)
        self._handles.after(model, self._exit, "", always=True)

    def remove(self) -> None:
        """Take the hooks off; what was seen stays."""
        self._handles.remove()
        self._depth, self._current = 0, None

    def force_sequence(self) -> Callable[[], None]:
        """From now on all calls of a layer belong to one sequence, until the result is called."""
        self._forced = set()

        def end() -> None:
            self._forced = None

        return end

    def _enter(
        self, _: str, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        if self._depth == 0:
            self._current = read_arguments(model, args, kwargs, self._lengths)
        self._depth += 1

    def _exit(self, *_: Any) -> None:
        self._depth = max(self._depth - 1, 0)
        if self._depth == 0 and self._current is not None:
            for embedding in self._current.embeddings:
                embedding.output = None
            self._current = None
            self.forwards += 1

    def _on_layer(
        self,
        name: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Any,
    ) -> None:
        layer = self.layers[name]
        with torch.no_grad():
            call = layer.observer.observe(module, args, kwargs, output)
            # a layer that is called on its own, not through the model, has a forward to itself
            forward = self._current or Forward()
            given = args[0] if args else next(iter(kwargs.values()), None)
            fed_by = _source(given, forward.embeddings)
            continues = self._continues(name, layer, call)
            owned = call.owned(module)
        layer.calls.append(TracedCall(owned, forward, continues, fed_by))

    def _continues(self, name: str, layer: Layer, call: Call) -> bool:
        previous = layer.calls[-1].call if layer.calls else None
        if self._forced is not None:
            first = name not in self._forced
            self._forced.add(name)
            if not first and previous is not None and previous.batch != call.batch:
                raise SequenceError(
                    f"Inside probe.sequence() the batch of {name!r} changed from "
                    f"{previous.batch} to {call.batch} sequences. One sequence() holds the calls "
                    "of one batch; open a new one for the next."
                )
            return not first
        if previous is None or not call.passed or len(call.passed) != len(previous.returned):
            return False
        if all(s is ref() for s, ref in zip(call.passed, previous.returned_refs, strict=True)):
            return True
        pairs = list(zip(call.passed, previous.returned, strict=True))
        if not any(bool(s.any()) for s in call.passed):
            return False  # zeros are a fresh start, even where the last state was zero too
        if all(s.shape == r.shape and torch.equal(s, r.to(s)) for s, r in pairs):
            return True
        if all(_is_reordered(s, r) for s, r in pairs):
            raise SequenceError(
                f"{name!r} was called with states of its previous call in another order, or with "
                "some of them only, so its sequences cannot be followed. Keep the batch as it is "
                "within a sequence (pad it, or pack it), or detach the probe."
            )
        return False

    def _on_embedding(
        self,
        name: str,
        _: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Tensor,
    ) -> None:
        if self._current is not None:
            ids = args[0] if args else kwargs["input"]
            self._current.embeddings.append(EmbeddingCall(name, ids.detach().clone(), output))

    def _on_linear(
        self,
        name: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Tensor,
    ) -> None:
        forward = self._current
        if forward is None:
            return
        x = args[0] if args else kwargs["input"]
        with torch.no_grad():
            for layer in self.layers.values():
                self._match(name, layer, forward, x.detach(), output)

    @staticmethod
    def _match(name: str, layer: Layer, forward: Forward, x: Tensor, output: Tensor) -> None:
        """Note that a Linear was fed by a layer's state, in whichever of its calls."""
        parts, directions = layer.top.layout.names, layer.observer.directions(layer.module)
        for stream in reversed(layer.streams(forward)):
            feed = match(x, [traced.call for traced in stream], parts, directions)
            if feed is not None:
                kept = output.detach().clone() if feed.parts else None
                source = stream[-1].call
                forward.linears.append(
                    LinearCall(name, layer.name, feed.parts, feed.when, feed.reason, kept, source)
                )
                return


def _source(given: Any, embeddings: list[EmbeddingCall]) -> EmbeddingCall | None:
    """The embedding call whose very output the layer was given."""
    return next((e for e in embeddings if e.output is given and given is not None), None)


def _is_reordered(passed: Tensor, returned: Tensor) -> bool:
    """Whether every non-zero row (per sequence) of `passed` is a row of `returned`."""
    a = passed.flatten(0, -2) if passed.dim() == 2 else passed.transpose(0, 1).flatten(1)
    b = returned.flatten(0, -2) if returned.dim() == 2 else returned.transpose(0, 1).flatten(1)
    if a.shape[-1] != b.shape[-1] or a.shape[0] == 0:
        return False
    found = (a[:, None] == b.to(a)[None]).all(-1).any(1)
    return bool((found | ~a.any(-1)).all())
