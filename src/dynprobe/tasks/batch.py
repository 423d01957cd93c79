"""A padded batch of labelled token sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, eq=False)
class Batch:
    """Token sequences of possibly different lengths, with a label or several labels each.

    Attributes
    ----------
    tokens
        Token ids, int64, ``(sequences, time)``. Steps at and after a sequence's length hold 0.
    lengths
        Number of valid tokens, int64, ``(sequences,)``, each at least 1.
    labels
        Class indices, int64, ``(sequences,)``; or one bool per label, ``(sequences, labels)``,
        where several may hold at once.
    """

    tokens: Tensor
    lengths: Tensor
    labels: Tensor

    @classmethod
    def from_sequences(cls, sequences: Sequence[Tensor], labels: Tensor) -> Batch:
        """Pad `sequences`, each ``(time_i,)``, with 0 to the longest of them."""
        lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)
        return cls(pad_sequence(list(sequences), batch_first=True), lengths, labels)

    def __len__(self) -> int:
        return len(self.labels)

    def sequences(self) -> list[Tensor]:
        """Return the token ids without their padding, a list of ``(length_i,)``."""
        lengths: list[int] = self.lengths.tolist()
        return [row[:length] for row, length in zip(self.tokens, lengths, strict=True)]

    def to(self, device: torch.device | str) -> Batch:
        """Return this batch on `device`."""
        return Batch(self.tokens.to(device), self.lengths.to(device), self.labels.to(device))
