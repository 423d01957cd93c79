"""A probed module and its recorded calls."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from torch import nn

from dynprobe.capture.forward import Fed, Forward
from dynprobe.errors import DynprobeError
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.observer import Call, Observer, Segment


@dataclass
class TracedCall:
    """One recorded call of a layer, with its place among the others."""

    call: Call
    forward: Forward
    continues: bool
    fed_by: Fed | None
    #: The input is made of an embedding's output in another order (sorted, shifted, flipped).
    rearranged: bool = False
    #: Steps the same sequences made before it in this forward pass.
    start: int = 0
    #: A loop over steps went on from another state than the last one returned (masked, normed).
    broken: bool = False
    #: Steps the same sequences made before it, in all forward passes.
    offset: int = 0
    #: It was given the state that the call before returned.
    handed_on: bool = False
    #: What was kept depends on lengths or a mask.
    shortened: bool = False
    #: Bytes counted for it.
    nbytes: int = 0
    segments: dict[str, Segment] = field(default_factory=dict)


@dataclass
class Layer:
    """A probed module: who reads it, and every call so far."""

    name: str
    module: nn.Module
    observer: Observer
    recurrences: dict[str, Recurrence]
    calls: list[TracedCall] = field(default_factory=list)
    #: Why a call could not be read; the model itself went on.
    trouble: Exception | None = None
    _top: Recurrence | None = None

    @property
    def keys(self) -> dict[str, str]:
        """Key of each recurrence, such as "rnn.l0", and its suffix."""
        return {f"{self.name}.{s}" if s else self.name: s for s in self.recurrences}

    @property
    def top(self) -> Recurrence:
        """The recurrence that the bare name stands for, whether it was chosen or not."""
        if self._top is None:
            self._top = self.observer.recurrences(self.module)[self.observer.top(self.module)]
        return self._top

    def segment(self, traced: TracedCall, suffix: str) -> Segment:
        """States of one recurrence during one call, recovered once."""
        if suffix not in traced.segments:
            traced.segments[suffix] = self.observer.recover(self.module, suffix, traced.call)
        return traced.segments[suffix]

    def materialize(self) -> None:
        """Recover everything that needs the weights as they are now."""
        for suffix in self.recurrences:
            if self.observer.lazy(self.module, suffix):
                for traced in self.calls:
                    # what cannot be recovered says so when it is asked for
                    with suppress(DynprobeError):
                        self.segment(traced, suffix)


def streams_of(calls: Iterable[TracedCall]) -> list[list[TracedCall]]:
    """Group calls that continue each other."""
    out: list[list[TracedCall]] = []
    for traced in calls:
        if traced.continues and out:
            out[-1].append(traced)
        else:
            out.append([traced])
    return out
