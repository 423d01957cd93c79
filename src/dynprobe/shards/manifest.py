"""The manifest of a folder of shards: what is true of all of them, and which there are.

It is written last and may lag behind: shards prove themselves, those that it lacks are found by
looking.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from dynprobe.atomic import durable_file
from dynprobe.checked_file import check, read_header, write_checked
from dynprobe.errors import FileFormatError

NAME = "manifest.json"
CONSTANTS = "constants.safetensors"
FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a folder says of itself.

    Attributes
    ----------
    run : str
        A name of this recording that no other has; its shards carry it too.
    header : dict
        As :func:`dynprobe.storage.header_of` gives it.
    shards : tuple of dict
        Entries of :meth:`dynprobe.shards.shard.Shard.to_dict`.
    """

    run: str
    header: dict[str, Any]
    shards: tuple[dict[str, Any], ...] = ()

    def listing(self, shards: tuple[dict[str, Any], ...]) -> Manifest:
        """The same with other shards."""
        return replace(self, shards=shards)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it; it takes the place of the old one whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    about = {
        "format": FORMAT,
        "run": manifest.run,
        "recording": manifest.header,
        "shards": list(manifest.shards),
    }
    text = json.dumps({"crc32": _crc(about), **about}, indent=1) + "\n"
    with durable_file(folder / NAME) as file:
        file.write(text.encode())


def read_manifest(folder: Path) -> Manifest:
    """Read what :func:`write_manifest` wrote.

    Raises
    ------
    FileFormatError
        If there is none, or it is not what was written.
    """
    try:
        about = json.loads((folder / NAME).read_text(encoding="utf-8"))
        crc, written = about.pop("crc32"), about["format"]
        manifest = Manifest(str(about["run"]), dict(about["recording"]), tuple(about["shards"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"cannot be read: {type(error).__name__}") from error
    if written != FORMAT:
        raise FileFormatError(f"has format {written}, and this version reads format {FORMAT}")
    if crc != _crc(about):
        raise FileFormatError("does not hold what was written")
    return manifest


@dataclass(frozen=True)
class Constants:
    """What a recording has once.

    Attributes
    ----------
    tensors : dict
        Such as those of the readout.
    header : dict
        Entries of the manifest's header that only it has beside, such as names of tokens.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    header: Mapping[str, Any] = field(default_factory=dict)


def write_constants(folder: Path, run: str, constants: Constants) -> None:
    """Write what a recording has once.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    about = {"run": run, "header": json.dumps(constants.header)}
    with durable_file(folder / CONSTANTS) as file:
        write_checked(file, constants.tensors, about)


def read_constants(folder: Path, run: str) -> Constants:
    """Read what :func:`write_constants` wrote; nothing where there is no such file.

    Raises
    ------
    FileFormatError
        If it is damaged, or of another recording.
    """
    path = folder / CONSTANTS
    if not path.exists():
        return Constants()
    header = read_header(path)
    check(path, header)
    if header.metadata.get("run") != run:
        raise FileFormatError("is of another recording")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Constants(tensors, dict(json.loads(header.metadata.get("header", "{}"))))
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise FileFormatError(f"cannot be read: {error}") from error


def _crc(about: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(about, sort_keys=True).encode()):08x}"
