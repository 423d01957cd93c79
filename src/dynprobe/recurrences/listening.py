"""Observers that listen inside a module's forward: to functions, to submodules, to its caches."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from dynprobe.errors import NothingRecordedError, RecordingWarning
from dynprobe.recurrences.arguments import bound_arguments
from dynprobe.recurrences.observer import Call, Observer
from dynprobe.recurrences.taps import Seen, Tap


@dataclass(frozen=True)
class Heard:
    """One forward of a module, and what was heard while it ran.

    Attributes
    ----------
    module, args, kwargs, output
        The call, as a forward hook sees it.
    seen : list of Seen
        Calls of tapped functions and submodules, in order.
    prepared : object
        What :meth:`ListeningObserver.prepare` returned before it.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any
    seen: list[Seen]
    prepared: Any

    def argument(self, *names: str) -> Any:
        """The first of the named arguments that was given, or None."""
        return argument(self.module, self.args, self.kwargs, *names)


class ListeningObserver(Observer):
    """Observer of a module whose forward has to be listened to while it runs."""

    #: Whether a forward of which nothing was heard cannot be read.
    must_hear = True

    def taps(self, module: nn.Module) -> Sequence[Tap]:
        """Functions to listen to."""
        return ()

    def children(self, module: nn.Module) -> Mapping[str, nn.Module]:
        """Submodules to listen to; what they show is noted under these names."""
        return {}

    def prepare(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Look at what the forward is going to overwrite (caches), before it does."""
        return None

    @abstractmethod
    def read(self, heard: Heard) -> Call:
        """What one forward showed."""

    def listen(self, heard: Heard) -> Call:
        """:meth:`read`, unless a kernel took a path that shows nothing.

        Raises
        ------
        NothingRecordedError
            Then, rather than to record nothing.
        """
        name = type(heard.module).__name__
        bypassed = sorted({s.name for s in heard.seen if not s.arguments})
        if bypassed:
            warn(
                f"{name} took its unfused path for the recorded call: the fused "
                f"kernel {', '.join(bypassed)} does not show its states. Results agree up to "
                "rounding."
            )
        calls = [s for s in heard.seen if s.arguments]
        if not calls and self.must_hear:
            raise NothingRecordedError(
                f"{name} ran, but nothing was seen of the computation of its "
                "states: a fused or replaced kernel took another path, or this release of its "
                "library computes them where nobody can listen. Load the model without "
                "`use_kernels`, put it in eval mode, or use a newer release."
            )
        return self.read(replace(heard, seen=calls))

    def observe(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Call:
        prepared = self.prepare(module, args, kwargs)
        return self.listen(Heard(module, args, kwargs, output, [], prepared))


def warn(message: str) -> None:
    """Warn about something in the recorded model that a naive recorder would store as it is."""
    warnings.warn(message, RecordingWarning, stacklevel=2)


def argument(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], *names: str
) -> Any:
    """The first of the named arguments of a module's forward that was given, or None."""
    given = bound_arguments(module, args, kwargs)
    return next((given[n] for n in names if given.get(n) is not None), None)
