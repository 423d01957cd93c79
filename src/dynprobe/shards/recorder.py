"""A probe's recordings, written to a folder while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dynprobe.errors import DynprobeError, ParameterError
from dynprobe.recording import Recording
from dynprobe.shards.writer import ShardWriter


class Recorder:
    """Writes what a probe sees; made by :meth:`dynprobe.Probe.record_to`.

    Parameters
    ----------
    folder : Path
        Has a folder for each recurrence.
    keys : sequence of str
        Recurrences to write.
    every : int
        Batches of one shard.
    resume : bool
        Whether to append to folders that are there.
    leave : callable
        Ends it at the probe.

    Raises
    ------
    FileFormatError
        If one of the folders exists and `resume` was not given.
    ParameterError
        If `every` is no positive number.
    """

    def __init__(
        self,
        folder: Path,
        keys: Sequence[str],
        *,
        every: int,
        resume: bool,
        leave: Callable[[Recorder], None],
    ) -> None:
        if not isinstance(every, int) or every < 1:
            raise ParameterError(f"every={every!r}: write after every first, second, ... batch.")
        self.folder = folder
        self.keys = frozenset(keys)
        self._leave = leave
        self._error: Exception | None = None
        self._writers = {
            key: ShardWriter(folder / quote(key, safe=""), every=every, resume=resume)
            for key in keys
        }

    @property
    def sequences(self) -> dict[str, int]:
        """Sequences on the disk, by recurrence."""
        return {key: writer.sequences for key, writer in self._writers.items()}

    def take(self, key: str, chunk: Recording, *, ended: bool) -> None:
        """Write a batch, or keep it until there are enough for a shard."""
        if len(chunk):
            self._writers[key].put(chunk, ended=ended)

    def fail(self, key: str, error: Exception, *, cut: bool) -> None:
        """Note that some sequences are lost; who closes the recorder is told."""
        self._error = self._error or error
        if cut:
            self._writers[key].cut()

    def close(self) -> None:
        """Write what is left. Closing it again does nothing.

        Raises
        ------
        WriteError
            If it cannot be written.
        DynprobeError
            If states of some calls could not be read; the others are written.
        """
        errors: list[Exception] = []
        try:
            self._leave(self)
        except DynprobeError as error:
            errors.append(error)
        for writer in self._writers.values():
            try:
                writer.close()
            except DynprobeError as error:
                errors.append(error)
        if self._error is not None:
            errors.append(self._error)
            self._error = None
        if errors:
            raise errors[0]

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        try:
            self.close()
        except DynprobeError:
            if kind is None:  # else what ended the block is the thing to say
                raise

    def __repr__(self) -> str:
        written = ", ".join(f"{key}: {n:,} sequences" for key, n in self.sequences.items())
        return f"Recorder({str(self.folder)!r}; {written})"
