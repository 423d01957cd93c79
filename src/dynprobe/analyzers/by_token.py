"""Recorded steps by their token: which occur, how often, and the mean of anything over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.recording import Recording


@dataclass(frozen=True)
class ByToken:
    """The valid steps of a recording after a known state, by token.

    Attributes
    ----------
    ids, counts : Tensor
        (tokens,) ids in ascending order, and occurrences.
    """

    ids: Tensor
    counts: Tensor
    _index: Tensor
    _mask: Tensor

    @classmethod
    def of(cls, rec: Recording) -> ByToken:
        """Of a recording with tokens."""
        assert rec.tokens is not None
        mask = rec.mask
        if rec.initial is None:  # then nobody knows how far the first token moved the state
            mask[:, 0] = False
        tokens = rec.tokens.to(mask.device)[mask].cpu()
        ids, index, counts = tokens.unique(return_inverse=True, return_counts=True)
        return cls(ids, counts, index, mask)

    def total(self, values: Tensor) -> Tensor:
        """(sequences, time, m) -> the sum over each token's steps, float64, (tokens, m)."""
        some = values[self._mask].to("cpu", torch.float64)
        total = torch.zeros(len(self.ids), some.shape[1], dtype=torch.float64)
        return total.index_add_(0, self._index, some)

    def mean(self, values: Tensor) -> Tensor:
        """(sequences, time, m) -> the mean over each token's steps, float64, (tokens, m)."""
        return self.total(values) / self.counts[:, None]


def token_names(ids: Tensor, vocabulary: tuple[str, ...] | None) -> tuple[str, ...]:
    """Names of tokens; those that the vocabulary lacks go by their numbers."""
    return tuple(
        vocabulary[i] if vocabulary is not None and 0 <= i < len(vocabulary) else str(i)
        for i in ids.tolist()
    )
