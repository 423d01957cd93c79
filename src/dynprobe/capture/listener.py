"""Hooks around a module whose forward has to be listened to while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from dynprobe.capture.hooks import Handles
from dynprobe.capture.layer import Layer
from dynprobe.recurrences.listening import Heard, ListeningObserver
from dynprobe.recurrences.observer import Call
from dynprobe.recurrences.taps import Seen, Sink, close_sink, open_sink

#: Called with the layer, a function that reads the call, and the forward's arguments.
OnHeard = Callable[[Layer, Callable[[], Call], tuple[Any, ...], Mapping[str, Any]], None]


class Listener:
    """Opens a sink before each forward of one layer, and hands on what was heard after it.

    Parameters
    ----------
    layer : Layer
        Its observer is a ListeningObserver.
    heard : callable
        Called after each forward that did not raise.
    """

    def __init__(self, layer: Layer, heard: OnHeard) -> None:
        assert isinstance(layer.observer, ListeningObserver)
        self._layer = layer
        self._observer = layer.observer
        self._heard = heard
        self._local = threading.local()
        self._taps = list(layer.observer.taps(layer.module))
        for tap in self._taps:
            tap.install()
        self._handles = Handles()
        self._handles.before(layer.module, self._open, "")
        for label, child in layer.observer.children(layer.module).items():
            self._handles.after(child, self._on_child, label)
        self._handles.after(layer.module, self._close, "", always=True)

    def remove(self) -> None:
        """Take hooks and taps off."""
        self.hush()
        self._handles.remove()
        while self._taps:
            self._taps.pop().remove()

    def hush(self) -> None:
        """Close a sink of this thread that Ctrl-C left open."""
        sink = self._sink
        if sink is not None:
            close_sink(sink)
            self._local.sink = None

    @property
    def _sink(self) -> Sink | None:
        """The sink that is open in this thread."""
        return getattr(self._local, "sink", None)

    def _open(
        self, _: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        if recomputing():
            return
        self.hush()
        sink = self._local.sink = open_sink()
        try:
            with torch.no_grad():
                sink.prepared = self._observer.prepare(module, args, kwargs)
        except Exception as error:  # the forward goes on; who asks for the states is told
            self._layer.trouble = self._layer.trouble or error

    def _on_child(
        self,
        label: str,
        _: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Any,
    ) -> None:
        sink = self._sink
        if sink is not None:
            given = {**({"input": args[0]} if args else {}), **kwargs}
            sink.seen.append(Seen(label, given, {}, output))

    def _close(
        self,
        _: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        output: Any,
    ) -> None:
        sink = self._sink
        self.hush()
        if sink is None or output is None:  # recomputed, or it raised
            return
        self._heard(
            self._layer,
            partial(
                self._observer.listen,
                Heard(module, args, kwargs, output, sink.seen, sink.prepared),
            ),
            args,
            kwargs,
        )


def recomputing() -> bool:
    """Whether activation checkpointing runs the layer again, during the backward pass."""
    return torch._C._current_graph_task_id() != -1
