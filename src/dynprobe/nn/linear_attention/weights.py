"""Powers of the decay: what a chunk of linear attention is weighted with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ChunkWeights:
    """Weights of n chunks of C tokens for S_t = gamma S_{t-1} + k_t v_t^T, per head and chunk.

    Attributes
    ----------
    within : Tensor
        (heads n or 1, C, C), gamma^(i-j) for j <= i, else 0: token j as token i sees it.
    across : Tensor
        (heads or 1, n + 1, n + 1), gamma^(C (i-j)) for j <= i, else 0. Applied to [state, K^T V of
        every chunk] it is the exclusive cumulative sum: row i is the state before chunk i, the
        last row the state after all.
    from_start : Tensor or None
        (heads n, C, 1), gamma^(i+1): the state before the chunk as token i sees it. None: 1.
    to_end : Tensor or None
        (heads n, C, 1), gamma^(C-1-j): token j in the state after the chunk. None: 1.
    """

    within: Tensor
    across: Tensor
    from_start: Tensor | None = None
    to_end: Tensor | None = None

    @classmethod
    def of(cls, chunk: int, n: int, like: Tensor, decay: Tensor | None) -> ChunkWeights:
        """Weights of `n` chunks of `chunk` tokens; `decay` (heads,) or None for 1."""
        if decay is None:
            return cls(like.new_ones(1, chunk, chunk).tril(), like.new_ones(1, n + 1, n + 1).tril())
        # In float64: the powers of many chunks are rounded once.
        log = decay.double().log()[:, None, None]
        i = torch.arange(chunk, device=like.device)
        c = torch.arange(n + 1, device=like.device)
        within = (log * (i[:, None] - i)).exp().tril()
        from_start = (log * (i + 1)[:, None]).exp()
        to_end = (log * (chunk - 1 - i)[:, None]).exp()
        across = (log * (chunk * (c[:, None] - c))).exp().tril()
        per_chunk = (x.to(like).repeat_interleave(n, 0) for x in (within, from_start, to_end))
        within, from_start, to_end = per_chunk
        return cls(within, across.to(like), from_start, to_end)

    def heads(self, start: int, stop: int) -> ChunkWeights:
        """The weights of some heads."""
        if self.from_start is None or self.to_end is None:
            return self
        n = self.across.shape[1] - 1
        part = slice(start * n, stop * n)
        return ChunkWeights(
            self.within[part], self.across[start:stop], self.from_start[part], self.to_end[part]
        )

    def enter(self, x: Tensor) -> Tensor:
        """x (heads n, C, .) weighted by what is left of the state before its chunk."""
        return x if self.from_start is None else x * self.from_start

    def leave(self, x: Tensor) -> Tensor:
        """x (heads n, C, .) weighted by what of it is left after its chunk."""
        return x if self.to_end is None else x * self.to_end
