"""Listening to a function that a module calls inside its forward.

A linear-attention mixer computes its states in a function of its own source file, where no hook
reaches. A tap replaces that name by a wrapper that passes everything through and, only while a
probed module's forward runs, notes arguments and result. It is installed once however many
probes want it, and taken off with the last of them.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Seen:
    """One call of a tapped function: arguments by name, tensors among them that it may change."""

    name: str
    arguments: Mapping[str, Any]
    #: Copies of the arguments that the forward overwrites, taken before it does; None: not given.
    before: Mapping[str, Any]
    output: Any = None


@dataclass
class Sink:
    """Where one probe collects what is seen during one forward of one module."""

    seen: list[Seen] = field(default_factory=list)
    #: What the observer looked at before the forward.
    prepared: Any = None


_OPEN: ContextVar[tuple[Sink, ...]] = ContextVar("dynprobe_open_sinks", default=())


def open_sink() -> Sink:
    """Start listening in this context (thread)."""
    sink = Sink()
    _OPEN.set((*_OPEN.get(), sink))
    return sink


def close_sink(sink: Sink) -> None:
    """Stop listening; sinks of other probes stay, in whichever order they are closed."""
    _OPEN.set(tuple(s for s in _OPEN.get() if s is not sink))


def note(seen: Seen) -> None:
    """Hand something to every open sink."""
    for sink in _OPEN.get():
        sink.seen.append(seen)


@dataclass(frozen=True)
class Tap:
    """A function to listen to: ``getattr(owner, name)``.

    Attributes
    ----------
    owner : object
        A Python module, or a module instance that holds the function as an attribute.
    name : str
        What it is called there.
    overwrites : tuple of str
        Arguments (tensors, or sequences of them) that the function, or the forward after it,
        changes in place: states that live in a cache.
    bypass : bool
        The function is a fused shortcut around the functions that show the states; while a probed
        module runs it returns None, which its callers take for "not available".
    """

    owner: Any
    name: str
    overwrites: tuple[str, ...] = ()
    bypass: bool = False

    def install(self) -> None:
        """Put the wrapper in place, or count one more user of it."""
        with _LOCK:
            present = getattr(self.owner, self.name)
            if isinstance(present, Wrapper):
                present.users += 1
            else:
                setattr(self.owner, self.name, Wrapper(present, self))

    def remove(self) -> None:
        """Count one user less; the last one puts the function back."""
        with _LOCK:
            present = getattr(self.owner, self.name, None)
            if not isinstance(present, Wrapper):
                return  # somebody put another function in its place
            present.users -= 1
            if present.users == 0:
                setattr(self.owner, self.name, present.function)


_LOCK = threading.Lock()


class Wrapper:
    """The function itself, and an eye on it; copies and pickles as the function alone."""

    def __init__(self, function: Callable[..., Any], tap: Tap) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.users = 1
        self._tap = tap
        self._signature = inspect.signature(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not _OPEN.get():
            return self.function(*args, **kwargs)
        if self._tap.bypass:
            note(Seen(self._tap.name, {}, {}))
            return None
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = bound.arguments
        before = {name: _copy(given.get(name)) for name in self._tap.overwrites}
        seen = Seen(self._tap.name, given, before)
        seen.output = self.function(*args, **kwargs)
        note(seen)
        return seen.output

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Any]:
        return self.function

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Callable[..., Any]]]:
        return _itself, (self.function,)


def _copy(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_copy(v) for v in value]
    return value.detach().clone() if isinstance(value, Tensor) else None


def _itself(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
