"""What a folder of shards holds: the good ones, and what is wrong with the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from dynprobe.errors import FileFormatError
from dynprobe.shards.manifest import (
    CONSTANTS,
    NAME,
    Constants,
    Manifest,
    read_constants,
    read_manifest,
)
from dynprobe.shards.shard import Shard, number_of, read_shard


@dataclass(frozen=True)
class Contents:
    """What was found.

    Attributes
    ----------
    manifest : Manifest
        As it was read, or put together from the shards where it is damaged.
    shards : tuple of Shard
        The good ones, in order; also those that the manifest lacks.
    constants : dict
        Tensors that a recording has once.
    damaged : tuple of str
        What cannot be used, by name, and why.
    next_number : int
        Of the shard that would come next; no file has it or a higher one.
    """

    manifest: Manifest
    shards: tuple[Shard, ...]
    constants: Mapping[str, Tensor]
    damaged: tuple[str, ...]
    next_number: int


def holds_shards(folder: Path) -> bool:
    """Whether a folder is, or was, a recording."""
    return (folder / NAME).exists() or any(number_of(p.name) is not None for p in folder.iterdir())


def examine(folder: Path, *, verify: bool) -> Contents:
    """Look at every file of a folder.

    Parameters
    ----------
    verify : bool
        Whether to read the shards against their checksums, all of their bytes.

    Raises
    ------
    FileFormatError
        If nothing of it can be used.
    """
    damaged: list[str] = []
    manifest = None
    try:
        manifest = read_manifest(folder)
    except FileFormatError as error:
        damaged.append(f"{NAME} {error}")
    found: list[Shard] = []
    for path in sorted(folder.glob("*.safetensors")):
        if path.name == CONSTANTS:
            continue
        try:
            found.append(read_shard(path, verify=verify))
        except FileFormatError as error:
            damaged.append(f"{path.name} {error}")
    rebuilt = manifest is None
    if manifest is None:
        manifest = _rebuilt(folder, found)
    good = [shard for shard in found if shard.run == manifest.run]
    damaged += [f"{s.path.name} is of another recording" for s in found if s.run != manifest.run]
    present = {path.name for path in folder.iterdir()}
    listed = [str(entry["file"]) for entry in manifest.shards]
    damaged += [f"{name} is missing" for name in listed if name not in present]
    try:
        constants = read_constants(folder, manifest.run)
    except FileFormatError as error:
        constants = Constants()
        damaged.append(f"{CONSTANTS} {error}; the readout is lost")
    if rebuilt:  # what shards do not say, these may
        manifest = replace(manifest, header={**manifest.header, **constants.header})
        if not constants.header:
            damaged.append("names of tokens and classes are lost, if there were any")
    numbers = [n for name in {*present, *listed} if (n := number_of(name)) is not None]
    return Contents(
        manifest,
        tuple(sorted(good, key=lambda shard: shard.number)),
        constants.tensors,
        tuple(damaged),
        max(numbers, default=-1) + 1,
    )


def _rebuilt(folder: Path, shards: list[Shard]) -> Manifest:
    """A manifest of what the shards say themselves; they must be there."""
    if not shards:
        raise FileFormatError(
            f"There is no recording in {folder}: neither a manifest nor a shard can be read. "
            "Folders of recordings are written by probe.record_to()."
        )
    run, _ = Counter(shard.run for shard in shards).most_common(1)[0]
    first = next(shard for shard in shards if shard.run == run)
    header = {**first.batches[0], "vocabulary": None, "classes": None, "readout": None}
    return Manifest(run, header)
