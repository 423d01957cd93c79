"""Rows of matrix states, chunk by chunk of tokens: sums over states that are divided row by row.

Row d of S_t = a_t S_{t-1} + k_t u_t^T moves on its own, S_t[d] = a_t[d] S_{t-1}[d] + k_t[d] u_t.
Within a chunk that is a product with the triangle of decays, W[t, i] = a_{i+1} ... a_t; only the
state at its end goes on to the next. Needs a decay that is the same along a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dynprobe.recurrences.scan import decay_triangle

if TYPE_CHECKING:
    from dynprobe.recurrences.factors import Factors

#: Tokens of a chunk: the triangles then cost about as much as the products with the states.
CHUNK = 64
#: Numbers that a chunk may hold.
BLOCK = 1 << 20


@dataclass(frozen=True)
class Chunk:
    """Some tokens in a row: k (sequences, heads, tokens, key), u (..., columns), their decays.

    `within` (sequences, heads, rows, tokens, tokens) is the triangle, `since` (sequences, heads,
    tokens, rows, 1) the decay since before the chunk; rows is 1 where they decay alike, or key.
    """

    at: slice
    k: Tensor
    u: Tensor
    within: Tensor
    since: Tensor

    def sums(self, x: Tensor) -> Tensor:
        """Leaky sums of (sequences, heads, tokens, key, n) along the tokens."""
        return _along(self.within, x)

    def reverse_sums(self, x: Tensor) -> Tensor:
        """The same from the end."""
        return _along(self.within.mT, x)


def chunks(factors: Factors, width: int, *, reverse: bool = False) -> Iterator[Chunk]:
    """Cut the tokens; `width` numbers a token, sequence and head is what a chunk will hold."""
    per_token = max(1, factors.k.shape[0] * factors.form.heads * width)
    size = max(8, min(CHUNK, BLOCK // per_token))
    begins = range(0, factors.time, size)
    for begin in reversed(begins) if reverse else begins:
        at = slice(begin, min(begin + size, factors.time))
        log_decay = factors.log_decay(at).squeeze(-1).permute(0, 2, 3, 1)
        yield Chunk(
            at,
            factors.spread(factors.k[:, at]).transpose(1, 2),
            factors.spread(factors.u[:, at]).transpose(1, 2),
            decay_triangle(log_decay),
            log_decay.cumsum(-1).exp().movedim(-1, 2).unsqueeze(-1),
        )


def normaliser(factors: Factors) -> Tensor:
    """z_t, the last column of every state: (sequences, time, heads, key)."""
    last = factors.form.value
    out = [
        z.squeeze(-1).transpose(1, 2)
        for _, z in _running(factors, lambda c: c.u[..., None, last:], factors.start[..., last:])
    ]
    return torch.cat(out, dim=1) if out else torch.zeros_like(factors.spread(factors.k))


def project_rows(factors: Factors, directions: Tensor, scale: Tensor) -> Tensor:
    """Inner products of some matrices with states whose rows are scaled.

    Parameters
    ----------
    directions : Tensor
        (n, heads, key, value); columns of the state beyond them do not count.
    scale : Tensor
        (sequences, time, heads, key).

    Returns
    -------
    Tensor
        (sequences, time, n).
    """
    n, _, key, value = directions.shape
    stacked = directions.permute(1, 3, 2, 0).flatten(2)  # (heads, value, key * n)
    start = torch.einsum("bhkv,nhkv->bhkn", factors.start[..., :value], directions)
    out = [scale.new_empty(scale.shape[0], 0, n)]
    running = _running(
        factors, lambda c: (c.u[..., :value] @ stacked).unflatten(-1, (key, n)), start
    )
    for at, products in running:
        out.append((products * scale[:, at].transpose(1, 2).unsqueeze(-1)).sum((1, 3)))
    return torch.cat(out, dim=1)


def adjoint_rows(factors: Factors, weights: Tensor, scale: Tensor) -> Tensor:
    """Weighted sums of states whose rows are scaled, the adjoint of :func:`project_rows`.

    Parameters
    ----------
    weights : Tensor
        (sequences, time, n).
    scale : Tensor
        (sequences, time, heads, key).

    Returns
    -------
    Tensor
        (n, heads, key, value).
    """
    sequences, heads, key, _ = factors.start.shape
    n, value = weights.shape[-1], factors.form.value
    later = scale.new_zeros(sequences, heads, key, n)  # what the start of the next chunk counts for
    total = scale.new_zeros(heads, key * n, value)
    for c in chunks(factors, key * n, reverse=True):
        counts = weights[:, c.at].unsqueeze(1).unsqueeze(-2) * scale[:, c.at].transpose(
            1, 2
        ).unsqueeze(-1)
        counts = torch.cat([counts[:, :, :-1], counts[:, :, -1:] + later.unsqueeze(2)], dim=2)
        added = (c.reverse_sums(counts) * c.k.unsqueeze(-1)).flatten(-2)
        total = total + (added.mT @ c.u[..., :value]).sum(0)
        later = (c.since * counts).sum(2)
    out: Tensor = total.unflatten(1, (key, n)).permute(2, 0, 1, 3)
    return out + torch.einsum("bhkn,bhkv->nhkv", later, factors.start[..., :value])


def row_squares(factors: Factors, columns: int) -> Tensor:
    """Squared length of every row of every state, (sequences, time, heads, key), none formed.

    |S_t|^2 = a^2 |S_{t-1}|^2 + 2 a k_t S_{t-1} u_t + k_t^2 |u_t|^2, for each row, of which only
    the first `columns` numbers count. Terms cancel where rows shrink: use float64.
    """
    key, state = factors.form.key, factors.start[..., :columns]
    squares, out = state.square().sum(-1), []
    for c in chunks(factors, key):
        u = c.u[..., :columns]
        inner = (u @ u.mT).unsqueeze(2) * c.within
        k = c.k.unsqueeze(-1)
        before = _along(inner.tril(-1), k) + c.since * (u @ state.mT).unsqueeze(-1)
        added = 2 * k * before + k.square() * u.square().sum(-1)[..., None, None]
        found = _along(c.within.square(), added) + c.since.square() * squares[:, :, None, :, None]
        out.append(found.squeeze(-1).transpose(1, 2))
        squares = found[:, :, -1, :, 0]
        left = c.k.mT * c.within[:, :, :, -1]  # (sequences, heads, key, tokens)
        state = c.since[:, :, -1] * state + left @ u
    return torch.cat(out, dim=1) if out else torch.zeros_like(factors.spread(factors.k))


def _running(
    factors: Factors, added: Callable[[Chunk], Tensor], start: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Leaky sums of k_t[d] added_t[d, n] from `start` (sequences, heads, key, n) on."""
    for c in chunks(factors, start.shape[-2] * start.shape[-1]):
        sums = c.sums(c.k.unsqueeze(-1) * added(c)) + c.since * start.unsqueeze(2)
        start = sums[:, :, -1]
        yield c.at, sums


def _along(triangle: Tensor, x: Tensor) -> Tensor:
    """(sequences, heads, rows, tokens, tokens) times (sequences, heads, tokens, key, n)."""
    rows = triangle.shape[2]
    by_row: Tensor = x.unflatten(3, (rows, -1)).flatten(4).movedim(2, 3)
    return (triangle @ by_row).movedim(3, 2).reshape(x.shape)
