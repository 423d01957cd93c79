"""How each token moves the state, on average over a run of any length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.base import Context, StreamingAnalyzer
from dynprobe.analyzers.by_token import ByToken, token_names
from dynprobe.analyzers.results import Result
from dynprobe.recording import Recording, RecordingMeta

#: Rows of the result that a summary shows.
_SHOWN = 8


@dataclass(frozen=True)
class TokenSums:
    """Steps by token: the accumulator.

    Attributes
    ----------
    ids, counts : Tensor
        (tokens,) ids in ascending order, and occurrences.
    totals : Tensor
        (tokens, state_dim), sum of the steps s_t - s_{t-1}, float64.
    """

    ids: Tensor
    counts: Tensor
    totals: Tensor

    @classmethod
    def empty(cls, state_dim: int) -> TokenSums:
        """Of no token."""
        none = torch.zeros(0, dtype=torch.int64)
        return cls(none, none, torch.zeros(0, state_dim, dtype=torch.float64))

    def merge(self, other: TokenSums) -> TokenSums:
        """Sums over both."""
        ids, index = torch.cat([self.ids, other.ids]).unique(return_inverse=True)
        counts = torch.zeros(len(ids), dtype=torch.int64)
        totals = torch.zeros(len(ids), self.totals.shape[1], dtype=torch.float64)
        return TokenSums(
            ids,
            counts.index_add_(0, index, torch.cat([self.counts, other.counts])),
            totals.index_add_(0, index, torch.cat([self.totals, other.totals])),
        )


@dataclass(frozen=True)
class TokenPushesResult(Result):
    """Mean push of every token that occurred after a known state, most frequent first.

    Attributes
    ----------
    tokens : tuple of str
        Their names.
    ids, counts : Tensor
        (tokens,) ids, and occurrences.
    pushes : Tensor
        (tokens, state_dim), mean of s_t - s_{t-1} over the steps with this token.
    lengths : Tensor
        (tokens,), norms of these means.
    """

    tokens: tuple[str, ...]
    ids: Tensor
    counts: Tensor
    pushes: Tensor
    lengths: Tensor

    def summary(self) -> list[tuple[str, str]]:
        """Rows for the report."""
        shown = zip(self.tokens, self.counts.tolist(), self.lengths.tolist(), strict=True)
        rows = [(name, f"{n:,} times, mean push {length:.3g}") for name, n, length in shown]
        return [("tokens", f"{len(rows):,}"), *rows[:_SHOWN]]


class TokenPushes(StreamingAnalyzer):
    """Sums of s_t - s_{t-1} by token, in float64; memory grows with the vocabulary alone."""

    name = "token_pushes"
    requires = frozenset({"states", "tokens"})

    def init(self, meta: RecordingMeta) -> TokenSums:
        return TokenSums.empty(meta.layout.size)

    def update(self, acc: TokenSums, chunk: Recording) -> TokenSums:
        tokens = ByToken.of(chunk)
        total = tokens.total(chunk.states - chunk.before)
        return acc.merge(TokenSums(tokens.ids, tokens.counts, total))

    def merge(self, a: TokenSums, b: TokenSums) -> TokenSums:
        return a.merge(b)

    def finalize(self, acc: TokenSums, ctx: Context) -> TokenPushesResult:
        top = acc.counts.argsort(descending=True, stable=True)
        pushes = acc.totals[top] / acc.counts[top, None]
        ids = acc.ids[top]
        return TokenPushesResult(
            token_names(ids, ctx.recording.meta.vocabulary),
            ids,
            acc.counts[top],
            pushes,
            pushes.norm(dim=1),
        )
