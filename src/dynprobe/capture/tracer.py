"""Hooks on: every call of the chosen layers, and what else the forward pass tells about them."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from dynprobe.capture.forward import (
    EmbeddingCall,
    Fed,
    Forward,
    LinearCall,
    confirm_outputs,
    read_arguments,
)
from dynprobe.capture.hooks import Handles
from dynprobe.capture.layer import Layer, TracedCall, streams_of
from dynprobe.capture.listener import Listener, recomputing
from dynprobe.capture.readouts import Feed, match
from dynprobe.capture.reduce import reduce
from dynprobe.capture.traps import CacheTraps
from dynprobe.capture.valid import valid_steps
from dynprobe.errors import BudgetError, SequenceError
from dynprobe.recurrences.listening import ListeningObserver
from dynprobe.recurrences.observer import Call, weights_version
from dynprobe.store import FINAL, Budget, Store, size


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
    store : Store
        What to keep of the states.
    budget : Budget
        Bytes that may be kept.
    detach : bool
        Whether to keep values only, or the graph they came from too.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: dict[str, Layer],
        embeddings: Mapping[str, nn.Module],
        linears: Mapping[str, nn.Module],
        lengths: str | None,
        *,
        store: Store,
        budget: Budget,
        detach: bool = True,
    ) -> None:
        self.model = model
        self.layers = layers
        self.forwards = 0
        #: What the last forward pass that did not end well said.
        self.raised: str | None = None
        self.store = store
        self.budget = budget
        self._detach = detach
        self._lengths = lengths
        # one stack of forward passes a thread; an inner forward of the model has its own
        self._local = threading.local()
        self._forced: set[str] | None = None
        self._told: weakref.WeakMethod[Callable[[], None]] | None = None
        self._handles = Handles()
        for layer in layers.values():
            for recurrence in layer.recurrences.values():
                if store.project is not None:  # directions of another width: say so now
                    store.directions(recurrence.state_dim)
        self._handles.before(model, self._enter, "")
        self._listeners = []
        for name, layer in layers.items():
            if isinstance(layer.observer, ListeningObserver):
                self._listeners.append(Listener(layer, self._on_heard))
            else:
                self._handles.after(layer.module, self._on_layer, name)
        self._traps = CacheTraps(model if self._listeners else nn.Module(), lambda: self._current)
        for name, module in embeddings.items():
            self._handles.after(module, self._on_embedding, name)
        for name, module in linears.items():
            self._handles.after(module, self._on_linear, name)
        # not called for a forward that raised; the next one is
        self._handles.after(model, self._complete, "")
        self._handles.after(model, self._exit, "", always=True)

    def remove(self) -> None:
        """Take the hooks off; what was seen stays."""
        self._handles.remove()
        self._traps.remove()
        for listener in self._listeners:
            listener.remove()
        self.reset()

    def reset(self) -> None:
        """Forget forward passes that never ended (Ctrl-C skips the hook that ends them)."""
        for listener in self._listeners:
            listener.hush()
        self._local = threading.local()

    def force_sequence(self) -> Callable[[], None]:
        """From now on all calls of a layer belong to one sequence, until the result is called."""
        self._forced = set()

        def end() -> None:
            self._forced = None

        return end

    def tell(self, method: Callable[[], None]) -> None:
        """Call a bound method, held weakly, whenever a forward pass has ended."""
        self._told = weakref.WeakMethod(method)

    def _ended(self) -> None:
        method = None if self._told is None else self._told()
        if method is not None and self._current is None:
            method()

    @property
    def _stack(self) -> list[Forward]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[Forward] = self._local.stack
        return stack

    @property
    def _current(self) -> Forward | None:
        return self._stack[-1] if self._stack else None

    def _enter(
        self, _: str, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        for listener in self._listeners:
            listener.hush()
        self._stack.append(read_arguments(model, args, kwargs, self._lengths))

    def _complete(self, *_: Any) -> None:
        if self._stack:
            self._stack[-1].complete = True

    def _exit(self, *call: Any) -> None:
        if not self._stack:
            return
        forward = self._stack.pop()
        if not forward.complete:
            error = sys.exc_info()[1]  # this hook runs while it is on its way
            self.raised = None if error is None else f"{type(error).__name__}: {error}"
            self._forget(forward)
            return
        with torch.no_grad(), suppress(Exception):  # unconfirmed, a readout is taken with care
            confirm_outputs(forward, call[-1])
        for embedding in forward.embeddings:
            embedding.output = None
        forward.runs = {name: len(streams_of(calls)) for name, calls in forward.calls.items()}
        forward.calls.clear()  # they point back here
        self.forwards += 1
        self._ended()

    def _forget(self, forward: Forward) -> None:
        """Drop what was seen of a forward that raised: layers keep the same sequences."""
        for layer in self.layers.values():
            dropped = [t for t in layer.calls if t.forward is forward]
            if dropped:
                layer.calls = [t for t in layer.calls if t.forward is not forward]
                self.budget.used -= sum(t.nbytes for t in dropped)

    @contextmanager
    def _careful(self, layer: Layer) -> Iterator[None]:
        """Never let the observed forward pass fail: keep the error for who asks for the states."""
        try:
            yield
        except (SequenceError, BudgetError):
            raise  # the errors that are about how the model is called, and must not wait
        except Exception as error:
            layer.trouble = layer.trouble or error

    def _on_heard(
        self,
        layer: Layer,
        read: Callable[[], Call],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """After the forward of a layer that was listened to."""
        with self._quietly(layer) as autocast:
            call = replace(read(), autocast=autocast)
            self._keep(layer, call, args, kwargs)
        if layer.trouble is None:
            self._traps.look(layer.observer, call, layer.calls[-1].forward)
        self._ended()

    def _on_layer(
        self,
        name: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Any,
    ) -> None:
        if recomputing():
            return
        layer = self.layers[name]
        with self._quietly(layer) as autocast:
            call = layer.observer.observe(module, args, kwargs, output)
            call = replace(call, autocast=autocast)
            self._keep(layer, call, args, kwargs)
        self._ended()

    @contextmanager
    def _quietly(self, layer: Layer) -> Iterator[bool]:
        """Compute beside the forward pass: in full precision, and with a graph only if wanted.

        Yields whether the forward pass itself runs under autocast.
        """
        graph = not self._detach and torch.is_grad_enabled()
        device = next((p.device.type for p in layer.module.parameters()), "cpu")
        known = torch.amp.is_autocast_available(device)  # not of every device, such as "meta"
        autocast = known and torch.is_autocast_enabled(device)
        with (
            torch.set_grad_enabled(graph),
            torch.autocast(device, enabled=False) if known else nullcontext(),
            # activation checkpointing counts the tensors that a forward saves: not ours
            torch.autograd.graph.saved_tensors_hooks(_itself, _itself) if graph else nullcontext(),
            self._careful(layer),
        ):
            yield autocast

    def _keep(
        self,
        layer: Layer,
        call: Call,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        # a layer that is called on its own, not through the model, has a forward to itself
        forward = self._current or Forward(complete=True)
        given = args[0] if args else next(iter(kwargs.values()), None)
        handed_on = self._handed_on(layer, call)
        continues = self._continues(layer, call, handed_on=handed_on)
        # the layer's call before this one in the same forward pass, if there is one
        before = layer.calls[-1] if layer.calls else None
        before = before if before is not None and before.forward is forward else None
        start = before.start + before.call.time if continues and before is not None else 0
        last = layer.calls[-1] if continues else None
        offset = 0 if last is None else last.offset + last.call.time
        fed_by, rearranged = _source(given, call, forward.embeddings, start)
        broken = (
            not continues
            and call.time == 1
            and any(bool(s.any()) for s in call.passed)
            # a loop over steps, or a cache that somebody else went on with
            and (before is not None or isinstance(layer.observer, ListeningObserver))
            and bool(layer.calls)
        )
        traced = TracedCall(
            call,
            forward,
            continues,
            fed_by,
            rearranged,
            start,
            broken,
            offset=offset,
            handed_on=continues and handed_on,
        )
        traced.nbytes = self._afford(layer, call)
        if self.store.reduces:
            self._reduce(layer, traced, again=before is not None and not continues)
        traced.call = traced.call.owned(layer.module, detach=self._detach, device=self.store.device)
        if traced.handed_on and not layer.observer.shows_state:
            # states of a mixer are large, and this one follows from the call before
            if last is not None:
                last.call.returned = ()
            traced.call.passed = ()
        layer.calls.append(traced)
        if forward is self._current:
            forward.calls.setdefault(layer.name, []).append(traced)

    def _reduce(self, layer: Layer, traced: TracedCall, *, again: bool) -> None:
        """Compute now what is kept of the states, and let go of the rest."""
        first, lengths = valid_steps([traced], traced.call.batch, traced.call.time, [], alone=True)
        traced.shortened = bool((lengths < traced.call.time).any()) and self.store.what == FINAL
        if again and (traced.shortened or layer.calls[-1].shortened):
            raise SequenceError(
                f"{layer.name!r} runs several times in one forward, and the model was given "
                "lengths or a mask: which of its runs they describe is not known, so the final "
                "states cannot be told while it runs. Record with store='states' or 'factors'."
            )
        for suffix in layer.recurrences:
            # a reverse direction runs from the last token to the first
            last = first if layer.observer.is_reverse(suffix) else first + lengths - 1
            segment = layer.observer.recover(
                layer.module, suffix, replace(traced.call, version=weights_version(layer.module))
            )
            traced.segments[suffix] = reduce(
                segment, self.store, last, offset=traced.offset, detach=self._detach
            )
        traced.call = traced.call.hollow()

    def _afford(self, layer: Layer, call: Call) -> int:
        """Count what will be kept of a call; raise before anything is copied."""
        if self.store.reduces:
            rows = 1 if self.store.what == FINAL else call.time // self.store.every
            inputs = self.store.project is None
            width = sum(
                self.store.width(r.state_dim) + inputs * r.input_dim
                for r in layer.recurrences.values()
            )
            handed = (*call.passed, *call.returned)
            needed = call.inputs.element_size() * call.batch * rows * width
            needed += sum(s.element_size() * s.numel() for s in handed)
        else:
            needed = call.nbytes
        if needed > self.budget.left:
            raise BudgetError(
                f"This call of {layer.name!r} needs {size(needed)} more, and "
                f"{size(self.budget.used)} of the budget of {size(self.budget.limit)} are used. "
                "What was recorded before it is kept. "
                "Raise the budget (attach(..., budget='16 GiB')), keep less (store='factors', "
                "'final', dynprobe.Store(every=16) or Store(project=64)), record fewer layers, or "
                "call probe.clear() between batches."
            )
        self.budget.used += needed
        return needed

    def _continues(self, layer: Layer, call: Call, *, handed_on: bool) -> bool:
        previous = layer.calls[-1].call if layer.calls else None
        if previous is not None and not handed_on and self._reordered(previous, call):
            raise SequenceError(
                f"{layer.name!r} was called with states of its previous call in another order, or "
                "with some of them only, so its sequences cannot be followed. Keep the batch as it "
                "is within a sequence (pad it, or pack it), or detach the probe."
            )
        if self._forced is not None:
            first = layer.name not in self._forced
            self._forced.add(layer.name)
            if not first and previous is not None and previous.batch != call.batch:
                raise SequenceError(
                    f"Inside probe.sequence() the batch of {layer.name!r} changed from "
                    f"{previous.batch} to {call.batch} sequences. One sequence() holds the calls "
                    "of one batch; open a new one for the next."
                )
            return not first
        return handed_on

    @staticmethod
    def _handed_on(layer: Layer, call: Call) -> bool:
        """Whether the call was given the state that the previous one returned."""
        if not layer.calls:
            return False
        previous = layer.calls[-1].call
        if not call.passed or len(call.passed) != len(previous.returned):
            return False
        if not any(bool(s.any()) for s in call.passed):
            return False  # zeros are a fresh start, even where the last state was zero too
        # by value, also for the very same tensor: it may have been reset in place
        return all(_same_state(s, r) for s, r in zip(call.passed, previous.returned, strict=True))

    def _reordered(self, previous: Call, call: Call) -> bool:
        """Whether it was given them in another order."""
        if not call.passed or len(call.passed) != len(previous.returned):
            return False
        if not any(bool(s.any()) for s in call.passed):
            return False
        pairs = zip(call.passed, previous.returned, strict=True)
        return all(_is_reordered(s, r) for s, r in pairs)

    def _on_embedding(
        self,
        name: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Tensor,
    ) -> None:
        if self._current is not None and isinstance(output, Tensor):
            ids = args[0] if args else kwargs["input"]
            padding = getattr(module, "padding_idx", None)
            self._current.embeddings.append(
                EmbeddingCall(name, ids.detach().clone(), output, padding)
            )

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
        if x.is_nested or x.layout != torch.strided:
            return
        with torch.no_grad():
            for layer in self.layers.values():
                if layer.observer.shows_state:
                    self._match(name, layer, forward, x.detach(), output)

    @staticmethod
    def _match(name: str, layer: Layer, forward: Forward, x: Tensor, output: Tensor) -> None:
        """Note that a Linear was fed by a layer's state, in whichever of its calls."""
        parts, directions = layer.top.layout.names, layer.observer.directions(layer.module)
        for stream in reversed(streams_of(forward.calls.get(layer.name, []))):
            try:
                feed = match(x, [traced.call for traced in stream], parts, directions)
            except Exception as error:  # say so where the readout is asked for
                feed = Feed((), "", f"its input could not be compared ({error})")
            if feed is not None:
                kept = None
                if feed.parts:
                    kept = output.detach().clone()
                    if feed.time_first:
                        kept = kept.transpose(0, 1)
                    elif feed.when == "all" and kept.dim() == 2:  # unbatched
                        kept = kept.unsqueeze(0)
                source = stream[-1].call
                forward.linears.append(
                    LinearCall(name, layer.name, feed.parts, feed.when, feed.reason, kept, source)
                )
                return


def _source(
    given: Any, call: Call, embeddings: list[EmbeddingCall], start: int
) -> tuple[Fed | None, bool]:
    """What embedding call fed the layer, told by its output, and whether it was rearranged.

    The very tensor, or equal values at every valid step: of a call of the same length from its
    beginning, of a longer one from step `start` on (a loop goes over it step by step). Where a
    sequence begins with one of the embedding's vectors, but the whole does not agree, tokens came
    in another order.
    """
    for embedding in embeddings:
        if embedding.output is given and given is not None:
            return Fed(embedding, 0), False
    x = call.inputs
    time = torch.arange(call.time, device=x.device)
    valid = (
        torch.ones(call.batch, call.time, dtype=torch.bool, device=x.device)
        if call.lengths is None
        else time < call.lengths.to(x.device)[:, None]
    )
    rearranged = False
    for embedding in reversed(embeddings):  # in a loop the last one is the likely one
        out = embedding.output
        if out is None or out.shape[-1] != x.shape[-1] or x.numel() == 0:
            continue
        views = [out, out.transpose(0, 1)] if out.dim() == 3 else [out.unsqueeze(out.dim() - 1)]
        for view in views:
            step = 0 if view.shape[1] == call.time else start
            if view.shape[0] != call.batch or view.shape[1] < step + call.time:
                continue
            same = (view[:, step : step + call.time] == x).all(-1)
            if bool((same | ~valid).all()):
                return Fed(embedding, step), False
        if start == 0:
            rearranged |= bool((out == x[0, 0]).all(-1).any())
    return None, rearranged


def _itself(x: Any) -> Any:
    return x


def _same_state(passed: Tensor, returned: Tensor) -> bool:
    """Equal, or equal but for the half precision in which a cache kept it in between."""
    if passed.shape != returned.shape:
        return False
    returned = returned.to(passed)
    return torch.equal(passed, returned) or any(
        torch.equal(passed, returned.to(half).to(passed)) for half in (torch.bfloat16, torch.half)
    )


def _is_reordered(passed: Tensor, returned: Tensor) -> bool:
    """Whether the non-zero rows (sequences) of `passed` are rows of `returned` at other places."""
    a = passed if passed.dim() == 2 else passed.transpose(0, 1).flatten(1)
    b = returned if returned.dim() == 2 else returned.transpose(0, 1).flatten(1)
    if a.shape[-1] != b.shape[-1] or a.shape[0] == 0:
        return False
    same = (a[:, None] == b.to(a)[None]).all(-1)
    live = a.any(-1)
    if not bool((same.any(1) | ~live).all()):
        return False
    # zeroed rows beside rows that stayed where they were are a reset, not another order
    stayed = same.diagonal() | ~live[: min(a.shape[0], b.shape[0])]
    return a.shape[0] != b.shape[0] or not bool(stayed.all())
