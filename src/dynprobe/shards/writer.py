"""Writes the batches of one recurrence to a folder, shard after shard."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynprobe.atomic import durable_file
from dynprobe.errors import FileFormatError, WriteError
from dynprobe.recording import Recording
from dynprobe.shards.folder import examine
from dynprobe.shards.manifest import (
    CONSTANTS,
    Constants,
    Manifest,
    write_constants,
    write_manifest,
)
from dynprobe.shards.shard import ONCE, read_shard, shard_name, write_shard
from dynprobe.storage import DIRECTIONS, constants_of, header_of

#: What batches of one folder have in common.
_SAME = ("layer", "layout", "dt", "unit", "store")
#: What they have in common where they have it at all.
_NAMES = ("vocabulary", "classes")


class ShardWriter:
    """Appends batches to a folder; each shard appears whole or not at all, and stays.

    Parameters
    ----------
    folder : Path
        Its own: it must not exist, unless `resume`.
    every : int
        Batches of one shard.
    resume : bool
        Go on with a folder that was written before.

    Raises
    ------
    FileFormatError
        If there is such a folder already, or nothing can be read of the one to go on with.
    """

    def __init__(self, folder: Path, *, every: int, resume: bool) -> None:
        self.folder = folder
        self._every = every
        self._group: list[Recording] = []
        self._changed = False
        self._open = False
        self._new = not folder.exists()
        self._number = 0
        self._shards: dict[int, dict[str, Any]] = {}
        self._listed = -1
        self._manifest: Manifest | None = None
        self._constants: dict[str, Tensor] = {}
        self._newest: tuple[dict[str, Tensor], dict[str, Any]] = {}, {}
        if folder.exists():
            self._go_on(resume=resume)

    def _go_on(self, *, resume: bool) -> None:
        if not resume:
            raise FileFormatError(
                f"{self.folder} exists already. Choose another folder, or append to it with "
                "resume=True."
            )
        for left in self.folder.glob("*.part"):  # of a process that was killed
            left.unlink()
        if not any(self.folder.iterdir()):
            return
        contents = examine(self.folder, verify=False)
        self._manifest, self._number = contents.manifest, contents.next_number
        self._shards = {shard.number: shard.to_dict() for shard in contents.shards}
        self._constants = dict(contents.constants)

    @property
    def sequences(self) -> int:
        """How many are on the disk."""
        return sum(int(entry["sequences"]) for entry in self._shards.values())

    def put(self, batch: Recording, *, ended: bool) -> None:
        """Add a batch; with `every` of them, or more, a shard is written before this returns.

        After one that has not `ended` the next is the same batch with more steps, and takes its
        place, also on the disk.

        Raises
        ------
        WriteError
            If it cannot be written. Nothing that was written before is touched; the batch is
            kept, and written with the next.
        FileFormatError
            If it is of another recurrence than the folder.
        """
        self._check_same(batch)
        if not self._open:
            self._group.append(batch)
            self._changed = True
        elif self._group[-1] is not batch:
            self._group[-1] = batch
            self._changed = True
        self._open = not ended
        if len(self._group) >= self._every:
            self._flush()
            if ended:
                self._begin_next()

    def cut(self) -> None:
        """The batch that had not ended stays as it is: what became of it cannot be read."""
        self._open = False

    def close(self) -> None:
        """Write what is left, and the manifest.

        Raises
        ------
        WriteError
            If it cannot be written.
        """
        if self._group:
            self._flush()
            self._begin_next()
        if self._manifest is not None and self._listed != len(self._shards):
            self._write_manifest()

    def _begin_next(self) -> None:
        self._group = []
        self._number += 1
        # not with each shard: the manifest would be written over and over, ever longer
        if len(self._shards) - self._listed >= max(16, self._listed // 8):
            self._write_manifest()

    def _check_same(self, batch: Recording) -> None:
        """Take note of what a batch says once, if it may be in this folder."""
        header, constants = header_of(batch), constants_of(batch)
        if self._manifest is None:
            self._manifest = Manifest(uuid.uuid4().hex, header)
        else:
            self._refuse_other(header, constants)
        self._newest = constants, {name: header[name] for name in ONCE}

    def _refuse_other(self, header: Mapping[str, Any], constants: Mapping[str, Tensor]) -> None:
        assert self._manifest is not None
        # as JSON gives them back: tuples are lists there
        mine = {name: self._manifest.header.get(name) for name in _SAME}
        theirs = {name: header[name] for name in _SAME}
        different = [name for name in _SAME if mine[name] != theirs[name]]
        if different:
            name = different[0]
            raise FileFormatError(
                f"{self.folder} holds states with {name} {mine[name]!r}, and these have "
                f"{theirs[name]!r}: record them to another folder."
            )
        for name in _NAMES:
            known, new = self._manifest.header.get(name), header[name]
            if known is not None and new is not None and list(known) != list(new):
                raise FileFormatError(
                    f"{self.folder} was recorded with another {name} ({len(known)} names, these "
                    f"states have {len(new)}, or the same in another order), and its ids would "
                    "mean two things: record them to another folder."
                )
        known, new = self._constants.get(DIRECTIONS), constants.get(DIRECTIONS)
        if known is not None and new is not None and not torch.equal(known, new.detach().cpu()):
            raise FileFormatError(
                f"{self.folder} holds projections on other directions than these: record them to "
                "another folder."
            )

    def _flush(self) -> None:
        if not self._changed:
            return
        assert self._manifest is not None
        path = self.folder / shard_name(self._number)
        try:
            self._claim(path)
            if self._listed < 0:  # names of tokens are not in the shards
                self._write_manifest()
            with durable_file(path) as file:
                write_shard(file, self._manifest.run, self._number, self._group)
        except OSError as error:
            raise WriteError(
                f"{path.name} could not be written to {self.folder}: {error.strerror or error}. "
                f"The {self.sequences:,} sequences before it are on the disk, and nothing of this "
                "shard is left there. It is kept in memory and written with the next batch or at "
                "the end, if there is room by then; or go on later with resume=True."
            ) from error
        self._changed = False
        self._shards[self._number] = read_shard(path, verify=False).to_dict()

    def _claim(self, path: Path) -> None:
        """Make the folder, or see that nobody else has written to it meanwhile."""
        taken = path.exists() and self._number not in self._shards
        if self._new:
            try:
                self.folder.mkdir(parents=True)
            except FileExistsError:
                taken = True
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
        if taken:
            raise FileFormatError(
                f"Somebody else writes to {self.folder}: {path.name} is not ours. Give every "
                "process and every probe a folder of its own. Nothing that is there was touched."
            )
        self._new = False

    def _write_manifest(self) -> None:
        assert self._manifest is not None
        entries = tuple(entry for _, entry in sorted(self._shards.items()))
        try:
            self._write_constants()
            write_manifest(self.folder, self._manifest.listing(entries))
        except OSError as error:
            raise WriteError(
                f"The manifest of {self.folder} could not be written: "
                f"{error.strerror or error}. The {len(entries)} shards written so far are there, "
                "and are found without it."
            ) from error
        self._listed = len(entries)

    def _write_constants(self) -> None:
        """Write the readout again where it is another one: it may be found late, or be trained."""
        assert self._manifest is not None
        found, once = self._newest
        found = {name: x.detach().cpu() for name, x in found.items()}
        changed = not all(
            name in self._constants and torch.equal(x, self._constants[name])
            for name, x in found.items()
        )
        # what is known once stays known
        self._constants |= found
        header = self._manifest.header | {n: v for n, v in once.items() if v is not None}
        names = {name: header[name] for name in ONCE}
        missing = any(names.values()) and not (self.folder / CONSTANTS).exists()
        if changed or missing or header != self._manifest.header:
            self._manifest = Manifest(self._manifest.run, header)
            write_constants(self.folder, self._manifest.run, Constants(self._constants, names))
