"""Sequences handed on while the model runs, and dropped: a probe that keeps no states."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol
from weakref import WeakMethod

import torch

from dynprobe.capture.layer import Layer, TracedCall, streams_of
from dynprobe.errors import DynprobeError
from dynprobe.recording import Recording
from dynprobe.store import Budget

#: A recording of some calls of a layer: (layer, suffix, key).
Assemble = Callable[[Layer, str, str], Recording]


class Sink(Protocol):
    """Takes recordings of one batch of sequences each, layer by layer."""

    #: Keys of the recurrences that it wants.
    keys: frozenset[str]

    def take(self, key: str, chunk: Recording, *, ended: bool) -> None:
        """Take a batch.

        Not `ended`: its sequences may go on in the next call. They come again, whole, as the next
        batch of the same key.
        """

    def fail(self, key: str, error: Exception, *, cut: bool) -> None:
        """Hear that sequences of a recurrence could not be read, and are lost.

        With `cut` they may be those of the last batch, which had not ended: it stays as it came.
        """


@dataclass
class _Open:
    """Calls whose sequences may still go on, and what was made of them."""

    calls: list[TracedCall]
    chunks: dict[str, Recording]

    def holds(self, calls: list[TracedCall]) -> bool:
        """Whether it was made of these calls and no others."""
        same = (a is b for a, b in zip(self.calls, calls, strict=False))
        return len(self.calls) == len(calls) and all(same)


@dataclass
class _Joined:
    """A sink, and the calls that were open when it came: they belong to the time before it."""

    sink: Sink
    not_mine: list[TracedCall] = field(default_factory=list)

    def wants(self, key: str, first: TracedCall) -> bool:
        return key in self.sink.keys and not any(first is call for call in self.not_mine)


class Flow:
    """Hands the finished sequences of a probe's layers to sinks, and drops them.

    A batch is finished when the next call of its layer does not continue it. What was recorded
    before the first sink came is put aside, and is there again when the last one has left.

    Parameters
    ----------
    layers : dict of Layer
        By module name.
    assemble : WeakMethod
        Makes a recording of calls; weak, since the probe that has it has this flow too.
    budget : Budget
        What is dropped is taken off it.
    """

    def __init__(
        self, layers: dict[str, Layer], assemble: WeakMethod[Assemble], budget: Budget
    ) -> None:
        self._layers = layers
        self._assemble = assemble
        self._budget = budget
        self._joined: list[_Joined] = []
        self._before: dict[str, list[TracedCall]] = {}
        self._open: dict[str, _Open] = {}
        self._lock = threading.RLock()

    def join(self, sink: Sink) -> None:
        """Hand on to `sink` what is recorded from now on."""
        with self._lock:
            if not self._joined:
                self._before = {name: layer.calls for name, layer in self._layers.items()}
                for layer in self._layers.values():
                    layer.calls = []
            firsts = [layer.calls[0] for layer in self._layers.values() if layer.calls]
            self._joined.append(_Joined(sink, firsts))

    def leave(self, sink: Sink) -> None:
        """Hand on what is left, and nothing from now on."""
        with self._lock, _quietly(self._layers):
            rest = self.unfinished(sink)
            self._joined = [j for j in self._joined if j.sink is not sink]
            if not self._joined:
                for name, layer in self._layers.items():
                    self._drop(layer, len(layer.calls))
                    layer.calls = self._before.pop(name, [])
            for key, chunk in rest:
                sink.take(key, chunk, ended=True)

    def forget(self) -> None:
        """Hand on what is open and drop it, as ``probe.clear()`` wants it."""
        with self._lock, _quietly(self._layers):
            try:
                for joined in self._joined:
                    for key, chunk in self.unfinished(joined.sink):
                        joined.sink.take(key, chunk, ended=True)
            finally:
                self._before.clear()
                self._open.clear()

    def unfinished(self, sink: Sink) -> list[tuple[str, Recording]]:
        """Batches of a sink that may still go on, by their keys."""
        with self._lock, _quietly(self._layers):
            return [
                (key, chunk)
                for joined in self._joined
                if joined.sink is sink
                for layer in self._layers.values()
                for stream in streams_of(layer.calls)
                for key, suffix in layer.keys.items()
                if joined.wants(key, stream[0])
                if (chunk := self._chunk(layer, stream, suffix, key)) is not None
            ]

    def drain(self) -> None:
        """Hand on what is finished; called when a forward pass has ended.

        Raises
        ------
        DynprobeError
            What a sink raised, after every sink has had what is its own.
        """
        errors: list[DynprobeError] = []
        with self._lock, _quietly(self._layers):
            for layer in self._layers.values():
                if self._joined and layer.calls:
                    errors += self._drain(layer)
        if errors:
            raise errors[0]

    def _drain(self, layer: Layer) -> list[DynprobeError]:
        errors: list[DynprobeError] = []
        if layer.trouble is not None:
            for key in layer.keys:
                self._fail(key, layer.trouble, cut=False)
        streams = streams_of(layer.calls)
        done = 0
        for stream in streams:
            last = stream is streams[-1]
            if not all(traced.forward.complete for traced in stream):
                break  # of a forward pass that another thread is in
            errors += self._hand_stream(layer, stream, ended=not last)
            done += 0 if last else len(stream)
        self._drop(layer, done)
        return errors

    def _hand_stream(
        self, layer: Layer, stream: list[TracedCall], *, ended: bool
    ) -> list[DynprobeError]:
        errors: list[DynprobeError] = []
        if not ended and any(t.forward is not stream[0].forward for t in stream):
            layer.materialize()  # it goes on; the weights may change before it ends
            return errors
        for key, suffix in layer.keys.items():
            wanting = [j.sink for j in self._joined if j.wants(key, stream[0])]
            chunk = self._chunk(layer, stream, suffix, key) if wanting else None
            for sink in wanting if chunk is not None else ():
                assert chunk is not None
                try:
                    sink.take(key, chunk, ended=ended)
                except DynprobeError as error:
                    errors.append(error)
        return errors

    def _chunk(
        self, layer: Layer, stream: list[TracedCall], suffix: str, key: str
    ) -> Recording | None:
        """A recording of one batch of sequences; made once while no call is added to it."""
        known = self._open.get(layer.name)
        if known is None or not known.holds(stream):
            self._release(layer.name)
            known = self._open[layer.name] = _Open(list(stream), {})
        if key not in known.chunks:
            assemble = self._assemble()
            try:
                assert assemble is not None
                known.chunks[key] = assemble(replace(layer, calls=stream), suffix, key)
            except Exception as error:  # the model runs on; who asks for the result is told
                self._fail(key, error, cut=True)
                return None
        return known.chunks[key]

    def _fail(self, key: str, error: Exception, *, cut: bool) -> None:
        for joined in self._joined:
            if key in joined.sink.keys:
                joined.sink.fail(key, error, cut=cut)

    def _drop(self, layer: Layer, n: int) -> None:
        """Let go of the first `n` calls, and of what they took of the budget."""
        gone, layer.calls = layer.calls[:n], layer.calls[n:]
        self._budget.used -= sum(traced.nbytes for traced in gone)
        known = self._open.get(layer.name)
        if known is not None and any(known.calls[0] is traced for traced in gone):
            self._release(layer.name)

    def _release(self, name: str) -> None:
        known = self._open.pop(name, None)
        if known is not None:
            self._budget.used -= sum(chunk.formed_bytes for chunk in known.chunks.values())


@contextmanager
def _quietly(layers: dict[str, Layer]) -> Iterator[None]:
    """Compute beside a forward pass: in full precision, without a graph, outside inference mode."""
    devices = {p.device.type for la in layers.values() for p in la.module.parameters()} | {"cpu"}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device in filter(torch.amp.is_autocast_available, devices):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield
