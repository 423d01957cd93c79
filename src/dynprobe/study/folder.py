"""The folder of a long run: rows, networks and pages go there, and a later run goes on from it."""

from __future__ import annotations

from pathlib import Path

from dynprobe.errors import DataError


def make_folder(folder: Path) -> None:
    """Make it where it is not there yet.

    Raises
    ------
    DataError
        If a file has its name, or one of a folder above it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(
            f"{folder} cannot be a folder, a file has its name or that of a folder above it. "
            "Pass another one."
        ) from error
