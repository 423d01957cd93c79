"""load(): a recording from a file or a folder."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from dynprobe import storage
from dynprobe.errors import (
    AmbiguousNameError,
    FileFormatError,
    RecordingWarning,
    UnknownNameError,
    suggest,
)
from dynprobe.recording import Recording
from dynprobe.shards.folder import examine, holds_shards
from dynprobe.shards.recording import ShardedRecording, Stored


def load(
    path: str | os.PathLike[str], layer: str | None = None, *, verify: bool = True
) -> Recording:
    """Read a recording that :meth:`Recording.save` or :meth:`Probe.record_to` wrote.

    Nothing in a file is ever executed. Of a folder only what is asked for is read: its recording
    goes through shard by shard, and forms all states in memory where somebody wants them.

    Parameters
    ----------
    path : path
        A file, with or without the ".safetensors" suffix, or a folder.
    layer : str, optional
        Which recurrence, of a folder that holds several.
    verify : bool
        Read every file against its checksum first. Without it damage that leaves a file's length
        as it was goes unseen.

    Returns
    -------
    Recording
        Its ``damaged`` names every shard that cannot be used, and why; a warning does too.

    Raises
    ------
    FileFormatError
        If there is no such file, it is damaged, or it is not a recording; of a folder, if no
        sequence can be read.
    AmbiguousNameError, UnknownNameError
        If the folder holds several recurrences, or none of that name.
    """
    source = Path(path)
    if not source.is_dir():
        if layer is not None:
            raise FileFormatError(f"{path} is no folder: a file holds one recurrence.")
        return storage.load(path, verify=verify)
    folder = _one_of(source, layer)
    recording = _load_folder(folder, verify=verify)
    if layer not in (None, recording.layer):
        raise UnknownNameError(
            f"{folder} is the recording of one recurrence, {recording.layer!r}, and not of "
            f"{layer!r}: load({str(folder)!r}) reads it."
        )
    return recording


def _one_of(folder: Path, layer: str | None) -> Path:
    """The folder of one recurrence: this one, or one that it holds."""
    if holds_shards(folder):
        return folder
    inside = {unquote(p.name): p for p in sorted(folder.iterdir()) if p.is_dir()}
    inside = {name: p for name, p in inside.items() if holds_shards(p)}
    if layer is None and len(inside) == 1:
        return next(iter(inside.values()))
    if not inside:
        raise FileFormatError(
            f"There is no recording in {folder}. Folders of recordings are written by "
            "probe.record_to()."
        )
    if layer is None:
        raise AmbiguousNameError(
            f"{folder} holds {len(inside)} recurrences; name one of them: "
            f"load(..., layer=...): {', '.join(inside)}."
        )
    if layer not in inside:
        raise UnknownNameError(f"{folder} holds no {layer!r}. {suggest(layer, inside)}")
    return inside[layer]


def _load_folder(folder: Path, *, verify: bool) -> Recording:
    contents = examine(folder, verify=verify)
    header = contents.manifest.header
    batches = [
        Stored(shard, index, header, contents.constants)
        for shard in contents.shards
        for index in range(len(shard.batches))
    ]
    if contents.damaged:
        warnings.warn(
            f"Of {folder} {len(contents.damaged)} things cannot be used: "
            f"{'; '.join(contents.damaged)}. The other {len(contents.shards)} shards are read.",
            RecordingWarning,
            stacklevel=3,
        )
    if not batches:
        raise FileFormatError(
            f"{folder} holds no sequence that can be read: "
            f"{'; '.join(contents.damaged) or 'nothing was written to it'}."
        )
    first = batches[0].read()
    notes = dict.fromkeys(str(n) for batch in batches for n in batch.notes)
    meta = replace(first.meta, notes=tuple(notes))
    return ShardedRecording(batches, meta, first.readout, contents.damaged)
