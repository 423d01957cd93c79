"""A recording in a folder of shards: memory-mapped, read when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dynprobe.checked_file import width_of
from dynprobe.errors import BudgetError, FileFormatError, NonFiniteStatesError, ShapeError
from dynprobe.joining import along_batch, along_time, common_scale, join
from dynprobe.readout import Readout
from dynprobe.recording import Recording, RecordingMeta
from dynprobe.shards.shard import Shard
from dynprobe.storage import build
from dynprobe.store import DEFAULT_BUDGET, Budget, budget_bytes, size

#: Attributes that are put together of all shards when somebody asks for them.
_BY_STEP = ("_kept", "inputs", "tokens", "steps")
_BY_SEQUENCE = ("initial", "labels")
_WHOLE = frozenset({*_BY_STEP, *_BY_SEQUENCE, "logits", "scale"})


@dataclass(frozen=True)
class Stored:
    """One batch of a shard."""

    shard: Shard
    index: int
    header: Mapping[str, Any]
    constants: Mapping[str, Tensor]

    @property
    def shape(self) -> tuple[int, int]:
        """Sequences and steps."""
        return self.shard.shape(self.index)

    @property
    def notes(self) -> Sequence[str]:
        """How its lengths, tokens and sequences were found."""
        return self.shard.batches[self.index].get("notes") or ()

    def has(self, name: str) -> bool:
        """Whether it has a tensor of this name."""
        return f"{self.index}.{name}" in self.shard.header.tensors

    def read(self) -> Recording:
        """The batch; its tensors are maps of the file, private to this process.

        Raises
        ------
        FileFormatError
            If the file has gone or changed.
        """
        start = f"{self.index}."
        try:
            with safe_open(self.shard.path, framework="pt") as file:
                names = [n for n in self.shard.header.tensors if n.startswith(start)]
                tensors = {n.removeprefix(start): file.get_tensor(n) for n in names}
            header = {**self.header, **self.shard.batches[self.index]}
            if "readout.weight" not in self.constants:
                header["readout"] = None
            return build(header, {**tensors, **self.constants})
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise FileFormatError(
                f"{self.shard.path} could be read a moment ago, and cannot any more: {error}"
            ) from error


class ShardedRecording(Recording):
    """A :class:`dynprobe.Recording` that lies in a folder; made by :func:`dynprobe.load`.

    `batches()`, `final`, `sample()`, `rec[i:j]` and every streaming analyzer read shard by shard.
    `states`, `inputs`, `tokens` and whatever needs all states at once put them together in
    memory, unless that takes more than ``rec.budget``.
    """

    def __init__(
        self,
        batches: Sequence[Stored],
        meta: RecordingMeta,
        readout: Readout | None,
        damaged: tuple[str, ...],
    ) -> None:
        # not Recording.__init__: what it would be given is what is not read here
        self._batches = list(batches)
        self._starts = [0]
        for batch in batches:
            self._starts.append(self._starts[-1] + batch.shape[0])
        self._longest = max(batch.shape[1] for batch in batches)
        self._given: dict[str, Tensor] = {}
        self._factors = None
        self.budget = Budget(DEFAULT_BUDGET)
        self.formed_bytes = 0
        self.meta = meta
        self.readout = readout
        self.damaged = damaged
        first = batches[0].read()
        self.form = first.form
        self.lengths = torch.cat([batch.read().lengths for batch in batches])

    def __getattr__(self, name: str) -> Any:
        # only for what is not there yet
        if name not in _WHOLE:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = self._whole(name)
        setattr(self, name, value)
        return value

    def _whole(self, name: str) -> Tensor | None:
        stored = "states" if name == "_kept" else name
        if not self.has(stored):
            return None
        self._check_budget(sum(self._bytes(batch, stored) for batch in self._batches))
        parts = [getattr(batch, name) for batch in self._each()]
        if name == "scale":
            return common_scale([(x, n) for x, n in zip(parts, self._sizes, strict=True)])
        per_step = name in _BY_STEP or (name == "logits" and all(x.dim() == 3 for x in parts))
        return along_time(parts, self.shape[1]) if per_step else along_batch(parts)

    def _check_budget(self, needed: int, budget: int | str | None = None) -> None:
        limit = self.budget.left if budget is None else budget_bytes(budget)
        if needed > limit:
            raise BudgetError(
                f"In memory this recording of {self.layer!r} takes {size(needed)}, more than what "
                f"is left of its budget, {size(limit)}. rec.batches() goes through it shard by "
                "shard, rec[i:j] reads some, streaming analyzers need no more than a batch; "
                "rec.form_states(budget='16 GiB') reads all states."
            )

    def _bytes(self, batch: Stored, name: str) -> int:
        """Bytes of one tensor of a batch, padded to the longest of all."""
        dtype, shape = batch.shard.header.tensors[f"{batch.index}.{name}"]
        padded = name in (*_BY_STEP, "states") or (name == "logits" and len(shape) == 3)
        rows = (shape[0], self.shape[1], *shape[2:]) if padded else shape
        return math.prod(rows) * width_of(dtype)

    @property
    def _sizes(self) -> list[int]:
        return [batch.shape[0] for batch in self._batches]

    def _each(self) -> Iterator[Recording]:
        for number in range(len(self._batches)):
            yield self._batch(number)

    def _batch(self, number: int) -> Recording:
        """One stored batch, with what was annotated since."""
        batch = self._batches[number].read()
        mine = slice(self._starts[number], self._starts[number + 1])
        if "lengths" in self._given:
            batch.annotate(lengths=self._given["lengths"][mine].clamp(max=batch.shape[1]))
        for name, value in self._given.items():
            if name == "tokens" or (name == "logits" and value.dim() == 3):
                setattr(batch, name, value[mine, : batch.shape[1]])
            elif name != "lengths":
                setattr(batch, name, value[mine])
        formed = self.__dict__.get("_kept")
        if formed is not None and batch.kept is None:  # of stored factors: no file has them
            batch.take_states(formed[mine, : batch.shape[1]])
        batch.budget = self.budget
        return batch

    def form_states(self, budget: int | str | None = None) -> Self:
        if "_kept" not in self.__dict__ and self.has("states"):
            needed = sum(self._bytes(batch, "states") for batch in self._batches)
            self._check_budget(needed, budget)
            self._kept = along_time([batch.kept for batch in self._each()], self.shape[1])
            return self
        return super().form_states(budget)

    def annotate(
        self, *, tokens: Any = None, labels: Any = None, logits: Any = None, lengths: Any = None
    ) -> Recording:
        given = {"tokens": tokens, "labels": labels, "logits": logits}
        super().annotate(**given, lengths=lengths)
        self._given |= {n: getattr(self, n) for n, value in given.items() if value is not None}
        return self

    def _shorten(self, lengths: Tensor) -> None:
        self.lengths = self._given["lengths"] = lengths
        self._factors = None
        formed = None if self.has("states") else self.__dict__.get("_kept")
        for name in ("_kept", "inputs"):  # read again, and cleared by then
            self.__dict__.pop(name, None)
        if formed is not None:
            self._kept = formed.masked_fill(~self.mask[..., None], 0)

    def has(self, name: str) -> bool:
        return name in self._given or all(batch.has(name) for batch in self._batches)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._starts[-1], self._longest, self.layout.size

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.shape[1]) < self.lengths[:, None]

    @property
    def nbytes(self) -> int:
        return sum({b.shard.path: b.shard.header.size for b in self._batches}.values())

    @property
    def complete(self) -> bool:
        return super().complete and (self.form is not None or self.has("states"))

    @property
    def final(self) -> Tensor:
        return torch.cat([batch.final for batch in self._each()])

    @property
    def final_logits(self) -> Tensor | None:
        if not self.has("logits"):
            return None
        found = [batch.final_logits for batch in self._each()]
        return along_batch(found)

    def flat(self) -> Tensor:
        if self.has("states"):
            # without padding
            steps = sum(n * time for n, time in (batch.shape for batch in self._batches))
            stored = sum(self._bytes(batch, "states") for batch in self._batches)
            share = int(self.lengths.sum()) * self.shape[1] / max(1, self.shape[1] * steps)
            self._check_budget(int(stored * share))
        return torch.cat([batch.flat() for batch in self._each()])

    def valid_rows(self, index: Tensor) -> Tensor:
        picked: list[Tensor] = []
        places: list[Tensor] = []
        start = 0
        for batch in self._each():
            end = start + int(batch.lengths.sum())
            mine = ((index >= start) & (index < end)).nonzero().flatten()
            if len(mine):
                picked.append(batch.flat()[index[mine] - start])
                places.append(mine)
            start = end
        return torch.cat(picked)[torch.cat(places).argsort()]

    def batches(self, size: int = 256) -> Iterator[Recording]:
        for batch in self._each():
            yield from batch.batches(size)

    def check_finite(self) -> None:
        for start, batch in zip(self._starts, self._each(), strict=False):
            try:
                batch.check_finite()
            except NonFiniteStatesError as error:
                end = start + len(batch)
                raise NonFiniteStatesError(f"Of sequences {start} to {end - 1}: {error}") from error

    def __getitem__(self, index: slice | Tensor | int) -> Recording:
        if isinstance(index, int):
            raise ShapeError(f"One sequence is rec[{index}:{index + 1}].")
        wanted = torch.arange(len(self))[index].contiguous()
        edges = torch.tensor(self._starts[1:])
        where = torch.searchsorted(edges, wanted, right=True)
        parts, places = [], []
        for number in where.unique().tolist():
            mine = (where == number).nonzero().flatten()
            parts.append(self._batch(number)[wanted[mine] - self._starts[number]])
            places.append(mine)
        if not parts:
            return self._batch(0)[:0]
        joined, order = join(parts), torch.cat(places)
        return joined if bool((order.diff() > 0).all()) else joined[order.argsort()]
