"""How time and heads are cut up: tiles that fit the cache, and the options all kernels share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.nn.linear_attention.feature_maps import ElementwiseMap
from dynprobe.nn.linear_attention.weights import ChunkWeights

# Chunks per slab of time, and rows (heads x tokens) per tile. Smaller tiles cost calls, larger ones
# leave the cache: 4,096 rows of 64 float32 are 1 MiB, and a tile holds a dozen such arrays.
SLAB = 16
ROWS = 4096


@dataclass(frozen=True)
class Options:
    """What a kernel needs to know beside its tensors."""

    phi: ElementwiseMap
    eps: float
    normalize: bool
    chunk_size: int


@dataclass(frozen=True)
class Tile:
    """Some heads over one slab of time, and its weights."""

    heads: slice
    time: slice
    chunk: int
    weights: ChunkWeights

    def cut(self, x: Tensor) -> Tensor:
        """(N, T, ...) -> (heads, tokens, ...), a view."""
        return x[self.heads, self.time]

    def chunks(self, x: Tensor) -> Tensor:
        """(heads, tokens, F) -> (heads n, C, F)."""
        return x.reshape(-1, self.chunk, x.shape[-1])


def slabs(steps: int, chunk_size: int) -> Iterator[tuple[slice, int]]:
    """Slabs of up to SLAB whole chunks; what is left is a slab of one shorter chunk."""
    whole = steps - steps % chunk_size
    for start in range(0, whole, SLAB * chunk_size):
        yield slice(start, min(start + SLAB * chunk_size, whole)), chunk_size
    if whole < steps:
        yield slice(whole, steps), steps - whole


def tiles(q: Tensor, decay: Tensor | None, options: Options, *, rows: int | None) -> list[Tile]:
    """Tiles in order of time; `rows` None takes all heads at once."""
    n_heads, steps = q.shape[:2]
    dtype = accumulation_dtype(q)
    made = []
    for time, chunk in slabs(steps, options.chunk_size):
        length = time.stop - time.start
        weights = ChunkWeights.of(chunk, length // chunk, q.new_empty(0, dtype=dtype), decay)
        group = n_heads if rows is None else max(1, rows // length)
        for first in range(0, n_heads, group):
            last = min(first + group, n_heads)
            made.append(Tile(slice(first, last), time, chunk, weights.heads(first, last)))
    return made


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """float32, or float64 for float64: half precision loses the state (8 % at 16k tokens)."""
    return torch.promote_types(x.dtype, torch.float32)
