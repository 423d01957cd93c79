"""Inner products of states that are never formed: a leaky sum in two directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from torch import Tensor

from dynprobe.recurrences.factors import Factors
from dynprobe.recurrences.precision import full_precision
from dynprobe.recurrences.scan import decay_triangle, linear_scan
from dynprobe.recurrences.state_matrix import StateMatrix
from dynprobe.recurrences.states import Factored, States

#: Numbers that a block of inner products may hold, over all heads and sequences.
BLOCK = 1 << 20
#: Tokens of a block at most: its triangular products cost more than they save beyond.
CHUNK = 128


@dataclass(frozen=True)
class Block:
    """Inner products of tokens `rows` of some sequences with tokens `columns` of all sequences.

    `products` is (sequences of the rows, rows, sequences, columns).
    """

    sequences: slice
    rows: slice
    columns: slice
    products: Tensor


@full_precision
def gram(states: StateMatrix) -> Tensor:
    """Inner products of all states that count, (rows, rows)."""
    weight = states.weight
    out = weight.new_zeros(*weight.shape, *weight.shape)
    for b in blocks(states.states):
        scale = weight[b.sequences, b.rows, None, None] * weight[:, b.columns]
        out[b.sequences, b.rows, :, b.columns] = b.products * scale
    valid = states.mask.flatten()
    return out.flatten(0, 1).flatten(1)[valid][:, valid]


def blocks(states: States) -> Iterator[Block]:
    """All blocks of the Gram matrix of all states, one after the other."""
    if has_closed_form(states):
        m = states.factors.maximum
        for b in gram_blocks(states.factors):
            if m is not None:
                products = torch.einsum("bih,cjh->bicj", m[b.sequences, b.rows], m[:, b.columns])
                b = replace(b, products=b.products + products)
            yield b
        return
    for begin, some in states.blocks():
        rows = slice(begin, begin + some.shape[1])
        products = states.project(some.flatten(0, 1)).movedim(-1, 0).unflatten(0, some.shape[:2])
        yield Block(slice(None), rows, slice(None), products)


def has_closed_form(states: States) -> TypeGuard[Factored]:
    """Whether inner products follow from the factors."""
    return isinstance(states, Factored) and states.factors.scalar_decay


def gram_blocks(factors: Factors) -> Iterator[Block]:
    """All blocks of the Gram matrix of all states, one after the other.

    With S_t = a_t S_{t-1} + k_t u_t^T, <S_s, S_t> is a leaky sum, over both s and t, of
    (k_s . k_t)(u_s . u_t). Memory for one block and one row.

    Parameters
    ----------
    factors : Factors
        With one decay for each head.
    """
    sequences, heads = factors.k.shape[0], factors.form.heads
    size = max(16, min(CHUNK, int((BLOCK // max(1, sequences * heads)) ** 0.5)))
    cuts = [slice(t, min(t + size, factors.time)) for t in range(0, factors.time, size)]
    k = factors.spread(factors.k).transpose(1, 2)  # (sequences, heads, time, key)
    u = factors.spread(factors.u).transpose(1, 2)
    log_decay = factors.log_decay()[..., 0, 0].expand(*factors.k.shape[:2], -1).transpose(1, 2)
    within = [decay_triangle(log_decay[..., at]) for at in cuts]
    since = [log_decay[..., at].cumsum(-1).exp() for at in cuts]
    start = factors.start
    for b in range(sequences):
        # the start is a token before the first, of any rank: <S_0 of b, every state>
        above = linear_scan(
            log_decay.transpose(1, 2).exp(),
            (k @ start[b]).mul(u).sum(-1).transpose(1, 2),
            torch.einsum("hkv,bhkv->bh", start[b], start),
        ).transpose(1, 2)
        last = [above[:, :, at] for at in cuts]  # the row before, as it is known so far
        for i, rows in enumerate(cuts):
            ki, ui = k[b, :, rows], u[b, :, rows]
            left = ((ki @ start) * ui).sum(-1)  # <k u of the rows, S_0>
            for j, columns in enumerate(cuts):
                added = (ki @ k[:, :, columns].mT) * (ui @ u[:, :, columns].mT)
                # along the columns <k_s u_s, S_t>, then along the rows <S_s, S_t>
                one = added @ within[j].mT + left.unsqueeze(-1) * since[j].unsqueeze(-2)
                left = one[..., -1]
                both = within[i][b] @ one + since[i][b].unsqueeze(-1) * last[j].unsqueeze(-2)
                last[j] = both[..., -1, :]
                yield Block(slice(b, b + 1), rows, columns, both.sum(1).transpose(0, 1)[None])
