"""Every error dynprobe raises on purpose.

Each says what was wrong, where, and what to do. They also derive from the built-in error a
caller would expect, so that ``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DynprobeError(Exception):
    """Base class of the errors dynprobe raises on purpose."""

    def __str__(self) -> str:
        # KeyError would print the repr of the message; ours are sentences.
        return str(self.args[0]) if self.args else ""


class NoRecurrenceError(DynprobeError, ValueError):
    """The model holds no layer that dynprobe knows as a recurrence."""


class JointMapError(DynprobeError, ValueError):
    """The model as a whole is no map that dynprobe can build, or none it can differentiate."""


class UnknownNameError(DynprobeError, LookupError):
    """A layer, part, analyzer or result name that matches nothing."""


class AmbiguousNameError(DynprobeError, LookupError):
    """A name was left out where several are possible."""


class NothingRecordedError(DynprobeError, RuntimeError):
    """No call of the layer has been seen."""


class SequenceError(DynprobeError, RuntimeError):
    """Calls that cannot be put together into sequences."""


class StaleWeightsError(DynprobeError, RuntimeError):
    """Weights changed between recording and the recovery of a state that needs them."""


class NonFiniteStatesError(DynprobeError, ValueError):
    """Recorded states hold NaN or Inf."""


class LargeStatesError(DynprobeError, RuntimeError):
    """Every state was asked for, where a recording holds them in another form."""


class StoreError(DynprobeError, ValueError):
    """A store or a budget that makes no sense."""


class BudgetError(DynprobeError, MemoryError):
    """What is to be kept would take more memory than the byte budget; nothing was allocated."""


class RecordingWarning(UserWarning):
    """The recorded model does something that its states should be read with in mind."""


class ShapeError(DynprobeError, ValueError):
    """An array whose shape does not fit."""


class ParameterError(DynprobeError, ValueError):
    """A setting outside the values that it may take."""


class ReadoutError(DynprobeError, ValueError):
    """There is no linear readout of the state, or it cannot be told which one it is."""


class FileFormatError(DynprobeError, ValueError):
    """A file that is not a recording, or a damaged one."""


class WriteError(DynprobeError, OSError):
    """What was to be written could not be: the disk is full, or the folder cannot be written."""


class DistributedError(DynprobeError, RuntimeError):
    """There is no process group to merge over."""


class CheckpointError(DynprobeError, ValueError):
    """A checkpoint of another run than the one that is to go on."""


class DataError(DynprobeError, ValueError):
    """A data set that cannot be read as labelled text."""


class DegenerateDataError(DynprobeError, ValueError):
    """Data without the variation that a measure of them needs."""


class ConvergenceError(DynprobeError, RuntimeError):
    """A solver that was asked to raise did not converge everywhere."""


class FeatureMapError(DynprobeError, ValueError):
    """Features of a linear attention that its denominator cannot take."""


class BackendError(DynprobeError, RuntimeError):
    """A kernel that is not there, or cannot do what was asked of it."""


class CacheError(DynprobeError, TypeError):
    """A cache of another kind than the model keeps."""


class MissingPackageError(DynprobeError, ImportError):
    """An optional package that was asked for is not installed."""


class TrackingWarning(UserWarning):
    """Something could not be measured during training, which goes on."""


class PluginWarning(UserWarning):
    """An installed plugin that cannot be used, beside everything else that can."""


class PluginError(DynprobeError, RuntimeError):
    """A plugin that cannot be used: it fails to import or does not keep the contract."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names near matches of `name`, or all of `known`."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return "Did you mean " + " or ".join(repr(n) for n in near) + "?"
    if not names:
        return "There are none."
    shown = ", ".join(repr(n) for n in names[:12])
    return f"There are: {shown}{', ...' if len(names) > 12 else ''}."
