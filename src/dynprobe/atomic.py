"""A file that appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write to; it takes the target's place if nothing raises."""
    part = target.with_name(target.name + ".part")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def durable_file(target: Path) -> Iterator[FileIO]:
    """Yield an unbuffered file that takes the target's place if nothing raises.

    When it has, neither a killed process nor a loss of power can take it back: the bytes reach the
    disk before the name does, and the name before this ends.
    """
    with whole_file(target) as part, FileIO(part, "w") as file:
        yield file
        os.fsync(file.fileno())
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
