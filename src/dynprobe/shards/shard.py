"""One shard: a group of recorded batches in one checked file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from dynprobe.checked_file import Header, check, read_header, write_checked
from dynprobe.errors import FileFormatError
from dynprobe.recording import Recording
from dynprobe.storage import header_of, tensors_of

FORMAT = 1
#: Header entries that are true of the whole folder and written once, in its manifest.
ONCE = ("vocabulary", "classes", "readout")
_NAME = re.compile(r"shard-(\d{6,})\.safetensors")


@dataclass(frozen=True)
class Shard:
    """A shard that is there.

    Attributes
    ----------
    path : Path
        Its file.
    run : str
        Which recording it is a part of.
    number : int
        Its place in it.
    batches : tuple of dict
        Headers of its batches, as :func:`dynprobe.storage.header_of` gives them, without what is
        written once.
    header : Header
        Checksum, size, shapes and dtypes.
    """

    path: Path
    run: str
    number: int
    batches: tuple[dict[str, Any], ...]
    header: Header

    def to_dict(self) -> dict[str, Any]:
        """Its entry of a manifest."""
        shapes = [self.shape(i) for i in range(len(self.batches))]
        return {
            "file": self.path.name,
            "number": self.number,
            "bytes": self.header.size,
            "crc32": self.header.crc32,
            "sequences": sum(n for n, _ in shapes),
            "steps": max((time for _, time in shapes), default=0),
        }

    def shape(self, batch: int) -> tuple[int, int]:
        """Sequences and steps of one of its batches."""
        tensors = self.header.tensors
        rows = tensors.get(f"{batch}.states") or tensors[f"{batch}.inputs"]
        return rows[1][0], rows[1][1]


def shard_name(number: int) -> str:
    """The name of a shard's file."""
    return f"shard-{number:06d}.safetensors"


def number_of(name: str) -> int | None:
    """The number in the name of a shard's file; None for other files."""
    found = _NAME.fullmatch(name)
    return None if found is None else int(found[1])


def write_shard(file: FileIO, run: str, number: int, batches: Sequence[Recording]) -> None:
    """Write a group of batches to an open file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    tensors = {f"{i}.{n}": x for i, b in enumerate(batches) for n, x in tensors_of(b).items()}
    headers = [{k: v for k, v in header_of(b).items() if k not in ONCE} for b in batches]
    about = {"format": FORMAT, "run": run, "number": number, "batches": headers}
    write_checked(file, tensors, {"dynprobe-shard": json.dumps(about)})


def read_shard(path: Path, *, verify: bool) -> Shard:
    """A shard, if it is what it says it is; its tensors are not read into memory.

    Parameters
    ----------
    verify : bool
        Whether to read the whole file against its checksum.

    Raises
    ------
    FileFormatError
        What is wrong with it, to be said after its name.
    """
    header = read_header(path)
    try:
        about = json.loads(header.metadata["dynprobe-shard"])
        written, run, number = int(about["format"]), str(about["run"]), int(about["number"])
        batches = tuple(dict(b) for b in about["batches"])
        shard = Shard(path, run, number, batches, header)
        shard.to_dict()  # every batch has a shape
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FileFormatError("is no shard of a recording") from error
    if written != FORMAT:
        raise FileFormatError(f"has format {written}, and this version reads format {FORMAT}")
    if verify:
        check(path, header)
    if number_of(path.name) != number:
        raise FileFormatError(f"is shard {number} under another name: swapped, or renamed")
    return shard
