"""The text of a file, with errors that say what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from dynprobe.errors import DataError


def read_utf8(path: Path) -> str:
    """Return the text of `path`, without a byte order mark.

    Raises
    ------
    DataError
        Naming the file, and the line where there is one, if it cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). "
            "Save the file as UTF-8."
        ) from error
