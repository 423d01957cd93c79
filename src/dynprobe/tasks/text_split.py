"""One part of a text data set: training, validation or test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.tasks.batch import Batch

# Shuffled batches are cut from stretches of this many batches, sorted by length within each.
_BATCHES_PER_BUCKET = 20


@dataclass(frozen=True, eq=False)
class TextSplit:
    """Labelled texts and their word ids.

    Attributes
    ----------
    texts
        The texts as written.
    labels
        Class indices, int64, ``(rows,)``; or one bool per label, ``(rows, labels)``, where
        several may hold at once.
    tokens
        Word ids of each text, a list of int64 ``(words,)``, none longer than the task's
        `max_length`.
    cut
        Where the texts that were longer and lost their end were read: file and line.
    dropped
        Where the texts that were longer and were left out were read.
    """

    texts: list[str]
    labels: Tensor
    tokens: list[Tensor]
    cut: list[str]
    dropped: list[str]

    @property
    def n_cut(self) -> int:
        """How many texts lost their end."""
        return len(self.cut)

    @property
    def n_dropped(self) -> int:
        """How many texts were left out."""
        return len(self.dropped)

    def __len__(self) -> int:
        return len(self.texts)

    def batch(self, indices: Sequence[int] | Tensor) -> Batch:
        """Return the rows at `indices`, padded to the longest of them."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return Batch.from_sequences([self.tokens[i] for i in rows.tolist()], self.labels[rows])

    def batches(
        self, batch_size: int, *, generator: torch.Generator | None = None, bucket: bool = True
    ) -> Iterator[Batch]:
        """Go once through all rows; the last batch may be smaller.

        Parameters
        ----------
        batch_size
            Rows in a batch.
        generator
            Shuffles the rows; None keeps one order, of the file or of the lengths.
        bucket
            Put texts of similar length together, which saves computing on padding. Shuffled
            rows are sorted within stretches of 20 batches and the batches shuffled again.

        Raises
        ------
        ValueError
            If `batch_size` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}. Pass at least 1.")
        for rows in self._order(batch_size, generator, bucket):
            yield self.batch(rows)

    def _order(
        self, batch_size: int, generator: torch.Generator | None, bucket: bool
    ) -> list[Tensor]:
        if len(self) == 0:
            return []
        rows = torch.arange(len(self))
        if generator is not None:
            rows = rows[torch.randperm(len(self), generator=generator)]
        if not bucket:
            return _pieces(rows, batch_size)
        lengths = torch.tensor([len(tokens) for tokens in self.tokens])
        stretch = len(self) if generator is None else batch_size * _BATCHES_PER_BUCKET
        order: list[Tensor] = []
        for part in _pieces(rows, stretch):
            order += _pieces(part[lengths[part].argsort(stable=True)], batch_size)
        if generator is None:
            return order
        return [order[i] for i in torch.randperm(len(order), generator=generator).tolist()]


def _pieces(rows: Tensor, size: int) -> list[Tensor]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
