"""Recordings on disk: one safetensors file, metadata as JSON in its header, no pickle.

Nothing in a file is ever executed: tensors are read by safetensors, the rest by json.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dynprobe.atomic import whole_file
from dynprobe.errors import DynprobeError, FileFormatError
from dynprobe.readout import Readout
from dynprobe.recording import Recording, RecordingMeta
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.store import Store

FORMAT = 2
_KEY = "dynprobe"
#: Tensors of a recording, by the names of their arguments.
_TENSORS = ("lengths", "initial", "inputs", "tokens", "labels", "logits", "steps", "scale")


def save(recording: Recording, path: str | os.PathLike[str]) -> Path:
    """Write `recording`; the file appears whole or not at all."""
    target = Path(path)
    if not target.suffix:
        target = target.with_suffix(".safetensors")
    if not target.parent.is_dir():
        raise FileFormatError(
            f"Cannot save to {target}: the folder {target.parent} does not exist. Create it first."
        )
    tensors: dict[str, Tensor] = {
        name: value.detach().cpu().contiguous().clone()
        for name in _TENSORS
        if (value := getattr(recording, name)) is not None
    }
    if recording.kept is not None:
        tensors["states"] = recording.kept.detach().cpu().contiguous().clone()
    if isinstance(recording.meta.store.project, Tensor):
        tensors["directions"] = recording.meta.store.project.detach().cpu().contiguous().clone()
    readout = recording.readout
    if readout is not None:
        tensors["readout.weight"] = readout.weight.detach().cpu().contiguous().clone()
        if readout.bias is not None:
            tensors["readout.bias"] = readout.bias.detach().cpu().contiguous().clone()
    meta = recording.meta
    header = {
        "format": FORMAT,
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
    with whole_file(target) as part:
        save_file(tensors, part, metadata={_KEY: json.dumps(header)})
    return target


def load(path: str | os.PathLike[str]) -> Recording:
    """Read a recording that :meth:`Recording.save` wrote.

    Parameters
    ----------
    path : path
        With or without the ".safetensors" suffix.

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
        return _build(json.loads(metadata[_KEY]), tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FileFormatError):
            raise
        reason = error if isinstance(error, DynprobeError) else f"{type(error).__name__}: {error}"
        raise FileFormatError(f"The recording {source} is damaged: {reason}") from error


def _build(header: dict[str, Any], tensors: dict[str, Tensor]) -> Recording:
    if header["format"] != FORMAT:
        raise FileFormatError(
            f"This recording has format {header['format']}, and this version of dynprobe reads "
            f"format {FORMAT}. Install a newer dynprobe."
        )

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
        "project": "directions" if given else store.project,
        "seed": store.seed,
    }


def _store_from_dict(values: dict[str, Any], tensors: dict[str, Tensor]) -> Store:
    project = values["project"]
    return Store(
        what=str(values["what"]),
        every=int(values["every"]),
        project=tensors["directions"] if project == "directions" else project,
        seed=int(values["seed"]),
    )
