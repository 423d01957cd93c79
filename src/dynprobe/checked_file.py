"""A safetensors file that holds the CRC-32 of its own bytes.

The checksum stands in the header's metadata and is that of the whole file with zeros in its place,
so that a file is known to be whole without anything beside it.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynprobe.errors import FileFormatError

#: Metadata of the header, where the checksum is looked for; in JSON text it could not occur.
_UNKNOWN = b'"crc32":"00000000"'
_DIGITS = 8
_BLOCK = 1 << 22
#: Bytes that are brought to the disk at a time while the next are written.
_AHEAD = 1 << 23
#: A longer header is none; the limit is that of safetensors.
_LONGEST_HEADER = 100 << 20
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    Attributes
    ----------
    metadata : dict
        Texts.
    tensors : dict
        Name -> (dtype as safetensors writes it, shape).
    crc32 : str
        Eight hexadecimal digits.
    size : int
        Bytes that the whole file must have.
    """

    metadata: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]
    crc32: str
    size: int


def write_checked(
    file: FileIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> tuple[str, int]:
    """Write tensors and texts; returns the checksum and the number of bytes.

    The checksum is worked out beside the writing, in a thread, and put in at the end. It is for
    the caller to bring the file to the disk; of a large one most is there already.

    Raises
    ------
    OSError
        If it cannot be written.
    FileFormatError
        For a dtype that the format does not have.
    """
    # wide numbers first: then each begins at a multiple of its width, as a memory map needs it
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    buffers = [_bytes(x) for _, x in ordered]
    header = _header(ordered, buffers, metadata)
    with ThreadPoolExecutor(2) as beside:
        crc = beside.submit(_crc, [memoryview(header), *buffers])
        _write_through(file, [memoryview(header), *buffers], beside)
        digits = f"{crc.result():08x}"
    file.seek(header.index(_UNKNOWN) + len(_UNKNOWN) - 1 - _DIGITS)
    _write(file, memoryview(digits.encode()))
    return digits, len(header) + sum(len(b) for b in buffers)


def read_header(path: Path) -> Header:
    """The header of a file, if it has the length that its header says.

    Raises
    ------
    FileFormatError
        Why it cannot be what :func:`write_checked` wrote.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            raw = file.read(min(length, _LONGEST_HEADER))
        entries: dict[str, Any] = json.loads(raw)
        metadata = {str(k): str(v) for k, v in entries.pop("__metadata__", {}).items()}
        tensors = {n: (str(e["dtype"]), tuple(e["shape"])) for n, e in entries.items()}
        end = max((int(e["data_offsets"][1]) for e in entries.values()), default=0)
    except OSError as error:
        raise FileFormatError(f"cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise FileFormatError("has no readable header: cut short, or damaged there") from error
    if "crc32" not in metadata:
        raise FileFormatError("is a safetensors file, but no shard: it has no checksum of its own")
    size, found = 8 + length + end, path.stat().st_size
    if found != size:
        raise FileFormatError(f"has {found:,} bytes instead of {size:,}: cut short, or appended to")
    return Header(metadata, tensors, metadata["crc32"], size)


def check(path: Path, header: Header) -> None:
    """Read a whole file against its checksum, in blocks.

    Raises
    ------
    FileFormatError
        If a byte is not what was written.
    """
    with path.open("rb", buffering=0) as file:
        start = file.read(8)
        start += file.read(int.from_bytes(start, "little"))
        known = _UNKNOWN.replace(b"0" * _DIGITS, header.crc32.encode())
        crc = zlib.crc32(start.replace(known, _UNKNOWN, 1))
        block = bytearray(_BLOCK)
        while n := file.readinto(block):
            crc = zlib.crc32(memoryview(block)[:n], crc)
    if f"{crc:08x}" != header.crc32:
        raise FileFormatError(
            f"does not hold what was written: its checksum is {crc:08x}, not {header.crc32}"
        )


def width_of(dtype: str) -> int:
    """Bytes of one number of a dtype, as the format writes it."""
    return next(known.itemsize for known, name in _DTYPES.items() if name == dtype)


def _header(
    tensors: Sequence[tuple[str, Tensor]],
    buffers: Sequence[memoryview],
    metadata: Mapping[str, str],
) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"crc32": "0" * _DIGITS, **metadata}}
    start = 0
    for (name, x), buffer in zip(tensors, buffers, strict=True):
        if x.dtype not in _DTYPES:
            raise FileFormatError(f"{name!r} is {x.dtype}, which cannot be written to a file.")
        end = start + len(buffer)
        entries[name] = {
            "dtype": _DTYPES[x.dtype],
            "shape": list(x.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(x: Tensor) -> memoryview:
    """The bytes of a tensor, without a copy if it lies in memory in one piece."""
    flat = x.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _crc(buffers: Sequence[memoryview]) -> int:
    crc = 0
    for buffer in buffers:
        crc = zlib.crc32(buffer, crc)
    return crc


def _write_through(file: FileIO, buffers: Sequence[memoryview], beside: Executor) -> None:
    """Write while the disk works on what was written before."""
    syncing: Future[None] | None = None
    written = 0
    for buffer in buffers:
        for start in range(0, len(buffer), _BLOCK):
            block = buffer[start : start + _BLOCK]
            _write(file, block)
            written += len(block)
            if written >= _AHEAD and (syncing is None or syncing.done()):
                if syncing is not None:
                    syncing.result()  # the disk tells of an error once, and not again
                syncing = beside.submit(os.fsync, file.fileno())
                written = 0
    if syncing is not None:
        syncing.result()
        os.fsync(file.fileno())  # beside the rest of the checksum


def _write(file: FileIO, buffer: memoryview) -> None:
    while len(buffer):
        # a full disk takes a part, and raises at the next try
        buffer = buffer[file.write(buffer) or 0 :]
