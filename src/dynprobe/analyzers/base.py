"""What an analyzer is: the contract that built-in analyzers and plugins share. API version 1."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dynprobe.errors import PluginError, ReadoutError
from dynprobe.readout import Readout
from dynprobe.recording import Recording, RecordingMeta
from dynprobe.recurrences.base import Recurrence

#: What an analyzer may require: every state, or formed ones ("kept", perhaps not all), or their
#: factors; what came with them; the map; its readout.
REQUIREMENTS = frozenset(
    {
        "states",
        "kept",
        "factors",
        "inputs",
        "tokens",
        "labels",
        "logits",
        "recurrence",
        "readout",
    }
)


@dataclass(frozen=True)
class Context:
    """What an analyzer is given.

    Attributes
    ----------
    recording : Recording
        The states of one recurrence, checked finite.
    layer : str
        Its key.
    seed : int
        Seed of everything random.
    progress : callable
        ``progress(done, total)``; does nothing when nobody looks.
    """

    recording: Recording
    layer: str
    seed: int
    progress: Callable[[int, int], None]
    _recurrence: Recurrence | None = field(repr=False)
    _readout: Readout | str = field(repr=False)
    _result: Callable[[str], Any] = field(repr=False)

    @property
    def recurrence(self) -> Recurrence:
        """The one-step map; asking for it without requiring it may raise."""
        if self._recurrence is None:
            raise PluginError(
                "There is no recurrence here: the states were recorded without their model. "
                'An analyzer that needs one says so: requires = frozenset({"recurrence"}).'
            )
        return self._recurrence

    @property
    def readout(self) -> Readout:
        """The linear readout; raises ReadoutError with the reason where there is none."""
        if isinstance(self._readout, str):
            raise ReadoutError(self._readout)
        return self._readout

    def has(self, requirement: str) -> bool:
        """Whether one of the requirements is met."""
        if requirement == "states":
            return self.recording.complete
        if requirement == "kept":
            return self.recording.complete or self.recording.kept is not None
        if requirement == "factors":
            return self.recording.has_factors
        if requirement == "recurrence":
            return self._recurrence is not None
        if requirement == "readout":
            return not isinstance(self._readout, str)
        return self.recording.has(requirement)

    def missing(self, requirement: str) -> str:
        """Why a requirement is not met, for the report."""
        if requirement == "readout" and isinstance(self._readout, str):
            return f"needs the readout ({self._readout})"
        if requirement == "states":
            return f"needs every state (recorded: {self.recording.meta.store})"
        if requirement == "kept":
            return "needs formed states: rec.form_states() forms them of factors"
        if requirement == "factors":
            return "needs the factors of a rank-one recurrence"
        return f"needs the {requirement}"

    def result(self, name: str) -> Any:
        """Another analyzer's result on the same layer, computed once."""
        return self._result(name)


class Analyzer(ABC):
    """Turns what was recorded of one layer into a result.

    Subclass it, give `name` (or let :func:`dynprobe.register_analyzer` do so), say what it
    requires, and return a frozen dataclass from :meth:`analyze`.
    """

    api: ClassVar[int] = 1
    name: str = ""
    requires: frozenset[str] = frozenset({"states"})

    @abstractmethod
    def analyze(self, ctx: Context) -> Any:
        """Analyse one layer and return a frozen dataclass."""


class StreamingAnalyzer(Analyzer):
    """An analyzer made of accumulators, so that it can see a run batch by batch.

    The four methods are pure: they return new accumulators and keep nothing in ``self``.
    ``finalize(merge(update(init(m), a), update(init(m), b)), ctx)`` equals seeing a, then b.
    """

    @abstractmethod
    def init(self, meta: RecordingMeta) -> Any:
        """Return an empty accumulator."""

    @abstractmethod
    def update(self, acc: Any, chunk: Recording) -> Any:
        """Return the accumulator after one more batch of sequences."""

    @abstractmethod
    def merge(self, a: Any, b: Any) -> Any:
        """Return the accumulator of two disjoint runs."""

    @abstractmethod
    def finalize(self, acc: Any, ctx: Context) -> Any:
        """Return the result.

        Where the states went by, fed by :meth:`dynprobe.Probe.accumulate`, the recording of `ctx`
        holds no sequence any more.
        """

    def analyze(self, ctx: Context) -> Any:
        """Feed the recording batch by batch."""
        acc = self.init(ctx.recording.meta)
        for chunk in ctx.recording.batches():
            acc = self.update(acc, chunk)
        return self.finalize(acc, ctx)
