"""Recordings on disk: one safetensors file, metadata as JSON in its header, no pickle.

Nothing in a file is ever executed: tensors are read by safetensors, the rest by json. The header
holds a checksum of the whole file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dynprobe.atomic import durable_file
from dynprobe.checked_file import check, read_header, write_checked
from dynprobe.errors import DynprobeError, FileFormatError, WriteError
from dynprobe.readout import Readout
from dynprobe.recording import Recording, RecordingMeta
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.store import Store

FORMAT = 3
_KEY = "dynprobe"
#: Name of directions that states were projected on, as a tensor and in the header.
DIRECTIONS = "directions"
#: Tensors of a recording, by the names of their arguments.
_TENSORS = ("lengths", "initial", "inputs", "tokens", "labels", "logits", "steps", "scale")


def save(recording: Recording, path: str | os.PathLike[str]) -> Path:
    """Write `recording`; the file appears whole or not at all.

    Raises
    ------
    FileFormatError
        If the folder does not exist.
    WriteError
        If it cannot be written, as to a full disk.
    """
    target = Path(path)
    if not target.suffix:
        target = target.with_suffix(".safetensors")
    if not target.parent.is_dir():
        raise FileFormatError(
            f"Cannot save to {target}: the folder {target.parent} does not exist. Create it first."
        )
    tensors = tensors_of(recording) | constants_of(recording)
    header = {"format": FORMAT, **header_of(recording)}
    try:
        with durable_file(target) as file:
            write_checked(file, tensors, {_KEY: json.dumps(header)})
    except OSError as error:
        raise WriteError(
            f"{target} could not be written: {error.strerror or error}. Nothing of it is left, a "
            "file that was there before is as it was, and the recording is in memory as before."
        ) from error
    return target


def tensors_of(recording: Recording) -> dict[str, Tensor]:
    """What a recording has of each sequence, by the names that :func:`build` takes."""
    named = {name: getattr(recording, name) for name in _TENSORS}
    return {n: x for n, x in {**named, "states": recording.kept}.items() if x is not None}


def constants_of(recording: Recording) -> dict[str, Tensor]:
    """What it has once: readout, and directions that states were projected on."""
    directions, readout = recording.meta.store.project, recording.readout
    found = {
        DIRECTIONS: directions if isinstance(directions, Tensor) else None,
        "readout.weight": None if readout is None else readout.weight,
        "readout.bias": None if readout is None else readout.bias,
    }
    return {name: x for name, x in found.items() if x is not None}


def header_of(recording: Recording) -> dict[str, Any]:
    """Everything else, ready for JSON."""
    meta, readout = recording.meta, recording.readout
    return {
        "layer": meta.layer,
        "layout": [[name, list(shape)] for name, shape in meta.layout.parts],
        "vocabulary": meta.vocabulary,
        "classes": meta.classes,
        "dt": meta.dt,
        "unit": meta.unit,
        "notes": meta.notes,
        "store": _store_to_dict(meta.store),
        "form": None if recording.form is None else recording.form.to_dict(),
        "readout": None if readout is None else readout.name,
    }


def load(path: str | os.PathLike[str], *, verify: bool = True) -> Recording:
    """Read a recording that :meth:`Recording.save` wrote.

    Parameters
    ----------
    path : path
        With or without the ".safetensors" suffix.
    verify : bool
        Read the whole file against its checksum first.

    Raises
    ------
    FileFormatError
        If there is no such file, it is damaged, or it is not a recording.
    """
    source = Path(path)
    if not source.exists() and not source.suffix:
        source = source.with_suffix(".safetensors")
    if not source.is_file():
        raise FileFormatError(f"There is no recording at {path}.")
    try:
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(
            f"{source} is not a safetensors file, or it is damaged: {error}. A recording is "
            "written by Recording.save()."
        ) from error
    if _KEY not in metadata:
        raise FileFormatError(
            f"{source} is a safetensors file, but not a dynprobe recording: its header has no "
            f"{_KEY!r} entry. Recordings are written by Recording.save(); states from elsewhere "
            "come in through Recording.from_arrays()."
        )
    try:
        header = json.loads(metadata[_KEY])
        if header["format"] != FORMAT:
            raise FileFormatError(
                f"This recording has format {header['format']}, and this version of dynprobe "
                f"reads format {FORMAT}. Install a newer dynprobe."
            )
        if verify:
            try:
                check(source, read_header(source))
            except FileFormatError as error:
                raise FileFormatError(f"The recording {source} {error}.") from None
        return build(header, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FileFormatError):
            raise
        reason = error if isinstance(error, DynprobeError) else f"{type(error).__name__}: {error}"
        raise FileFormatError(f"The recording {source} is damaged: {reason}") from error


def build(header: dict[str, Any], tensors: dict[str, Tensor]) -> Recording:
    """A recording of its header and its tensors; whatever is wrong with them raises."""

    def names(key: str) -> tuple[str, ...] | None:
        return None if header[key] is None else tuple(str(x) for x in header[key])

    meta = RecordingMeta(
        layer=str(header["layer"]),
        layout=Layout(tuple((str(n), tuple(int(i) for i in s)) for n, s in header["layout"])),
        vocabulary=names("vocabulary"),
        classes=names("classes"),
        dt=float(header["dt"]),
        unit=str(header["unit"]),
        notes=names("notes") or (),
        store=_store_from_dict(header["store"], tensors),
    )
    readout = None
    if header["readout"] is not None:
        readout = Readout(
            tensors["readout.weight"], tensors.get("readout.bias"), str(header["readout"])
        )
    given: dict[str, Any] = {name: tensors.get(name) for name in _TENSORS}
    form = None if header["form"] is None else RankOne.from_dict(header["form"])
    return Recording(tensors.get("states"), meta, readout=readout, form=form, **given)


def _store_to_dict(store: Store) -> dict[str, Any]:
    given = isinstance(store.project, Tensor)
    return {
        "what": store.what,
        "every": store.every,
        "project": DIRECTIONS if given else store.project,
        "seed": store.seed,
    }


def _store_from_dict(values: dict[str, Any], tensors: dict[str, Tensor]) -> Store:
    project = values["project"]
    return Store(
        what=str(values["what"]),
        every=int(values["every"]),
        project=tensors[DIRECTIONS] if project == DIRECTIONS else project,
        seed=int(values["seed"]),
    )
