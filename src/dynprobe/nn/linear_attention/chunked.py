"""The torch backend: chunks of time, matrix products inside, one cumulative sum across.

With features Q, K and V' = [V, 1] (the column of ones carries the normaliser z beside S):

    Y  = (Q K^T * W) V' + Q S        within the chunk, and the state before it
    S <- S + K^T V'                  exclusive cumulative sum over chunks
    out = Y[:, :M] / (Y[:, M] + eps)

Katharopoulos et al. 2020, algorithm 1, by chunks. Time is streamed in tiles that fit the cache;
the backward pass recomputes features and states tile by tile from the end, from one kept state
per tile. Memory beyond inputs and outputs is a tile, and T / tile states.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from dynprobe.nn.linear_attention.feature_maps import ElementwiseMap
from dynprobe.nn.linear_attention.tiles import ROWS, Options, Tile, accumulation_dtype, tiles
from dynprobe.nn.linear_attention.weights import ChunkWeights


def load(tile: Tile, q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None, phi: ElementwiseMap
         ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Features of a tile and its values with the column of ones; masked tokens leave no trace."""
    dtype = accumulation_dtype(q)
    features, keys = phi(tile.cut(q).to(dtype)), phi(tile.cut(k).to(dtype))
    values = tile.cut(v).to(dtype)
    if keep is not None:
        gone = ~tile.cut(keep)[..., None]
        keys, values = keys.masked_fill(gone, 0), values.masked_fill(gone, 0)
    values = pad(values, (0, 1), value=1.0)
    return tile.chunks(features), tile.chunks(keys), tile.chunks(values)


def states(keys: Tensor, values: Tensor, initial: Tensor, w: ChunkWeights) -> Tensor:
    """State before every chunk, and after the last: (heads, n + 1, D, M')."""
    heads, n, _, d = keys.shape
    outer = torch.bmm(w.leave(keys).flatten(0, 1).mT, values.flatten(0, 1))
    runs = torch.cat([initial.flatten(1)[:, None], outer.view(heads, n, -1)], dim=1)
    return torch.matmul(w.across, runs).view(heads, n + 1, d, values.shape[-1])


def weighted_scores(a: Tensor, b: Tensor, within: Tensor) -> Tensor:
    """(A B^T) * W per chunk: (heads n, C, C)."""
    scores = torch.bmm(a.flatten(0, 1), b.flatten(0, 1).mT)
    return scores.view(*a.shape[:2], *scores.shape[1:]).mul_(within).flatten(0, 1)


def forward_tile(q: Tensor, k: Tensor, v: Tensor, state: Tensor, w: ChunkWeights
                 ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Y (heads, tokens, M') of a tile and the state after it."""
    before = states(k, v, state, w)
    y = torch.bmm(weighted_scores(q, k, w.within), v.flatten(0, 1))
    y = y.baddbmm_(w.enter(q).flatten(0, 1), before[:, :-1].flatten(0, 1))
    return y.view(q.shape[0], -1, v.shape[-1]), before[:, -1]


def inverse(denominator: Tensor) -> Tensor:
    """1 / denominator, and 0 where it is 0: a token that sees no key outputs zero."""
    none = denominator == 0
    return denominator.masked_fill(none, 1).reciprocal().masked_fill(none, 0)


def plain(q: Tensor, k: Tensor, v: Tensor, state: Tensor, keep: Tensor | None,
          decay: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same function in operations autograd and torch.compile can follow.

    Used for the second derivative and under torch.compile. Keeps a state per chunk.
    """
    outs = [v.new_empty(v.shape[0], 0, v.shape[-1])]
    # Split, not sliced: the gradient of a slice is as long as the whole, so that of all slices
    # would be quadratic in time.
    cut = tiles(q, decay, options, rows=None)
    lengths = [t.time.stop - t.time.start for t in cut] or [0]
    parts = [x.split(lengths, dim=1) if x is not None else [None] * len(lengths)
             for x in (q, k, v, keep)]  # fmt: skip
    for tile, qs, ks, vs, keeps in zip(cut, *parts, strict=False):
        here = Tile(slice(None), slice(0, qs.shape[1]), tile.chunk, tile.weights)
        y, state = forward_tile(*load(here, qs, ks, vs, keeps, options.phi), state, tile.weights)
        out = y[..., :-1]
        if options.normalize:
            out = out * inverse(y[..., -1:] + options.eps)
        outs.append(out.to(v.dtype))
    return torch.cat(outs, dim=1), state


class ChunkedAttention(torch.autograd.Function):
    """Streaming forward and backward; see the module for the mathematics.

    (q, k, v, state, keep, decay, options) -> (out, final state, inverse denominators, kept
    states); only the first two are differentiable.
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, state: Tensor, keep: Tensor | None,
                decay: Tensor | None, options: Options) -> tuple[Tensor, ...]:  # fmt: skip
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        dtype = accumulation_dtype(q)
        scale = torch.ones(*v.shape[:2], 1, dtype=dtype, device=v.device)
        state, kept = state.clone(), []
        for tile in tiles(q, decay, options, rows=ROWS):
            kept.append(state[tile.heads].clone())
            y, after = forward_tile(
                *load(tile, q, k, v, keep, options.phi), state[tile.heads], tile.weights
            )
            state[tile.heads] = after
            if options.normalize:
                tile.cut(scale).copy_(inverse(y[..., -1:] + options.eps))
                torch.mul(y[..., :-1], tile.cut(scale), out=y[..., :-1])
            tile.cut(out).copy_(y[..., :-1])
        return out, state, scale, torch.cat(kept) if kept else state[:0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        q, k, v, state, keep, decay, ctx.options = inputs
        out, _, scale, kept = output
        ctx.mark_non_differentiable(scale, kept)
        ctx.save_for_backward(q, k, v, state, keep, decay, out, scale, kept)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor, d_state: Tensor, *_: Any) -> tuple[Any, ...]:
        q, k, v, state, keep, decay, out, scale, kept = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            if torch.is_grad_enabled():  # create_graph: the gradient is to be differentiated
                inputs = [x for x, need in zip((q, k, v, state), ctx.needs_input_grad, strict=False)
                          if need]  # fmt: skip
                ends = plain(q, k, v, state, keep, decay, ctx.options)
                grads = iter(torch.autograd.grad(
                    ends, inputs, (d_out, d_state), create_graph=True, allow_unused=True
                ))  # fmt: skip
                found = [next(grads) if need else None for need in ctx.needs_input_grad[:4]]
                return (*found, None, None, None)
            return (
                *stream_back(q, k, v, keep, decay, out, scale, kept, d_out, d_state, ctx.options),
                None, None, None,
            )  # fmt: skip


def stream_back(
    q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None, decay: Tensor | None, out: Tensor,
    scale: Tensor, kept: Tensor, d_out: Tensor, d_state: Tensor, options: Options,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v and the initial state, tile by tile from the end.

    With dY = [dOut s, -s dOut.out], s the inverse denominator, and G the gradient of the state:

        dQ = (dY V'^T * W) K + dY S^T
        dK = (dY V'^T * W)^T Q + V' G^T
        dV = (Q K^T * W)^T dY + K G
        G <- G + Q^T dY                 exclusive cumulative sum from the end
    """
    dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    gradient = d_state.clone()
    kept_end = kept.shape[0]
    for tile in reversed(tiles(q, decay, options, rows=ROWS)):
        w, within_back = tile.weights, tile.weights.within.mT
        features, keys, values = load(tile, q, k, v, keep, options.phi)
        heads, n, chunk, d = features.shape
        dy = tile.cut(d_out) * tile.cut(scale)
        if options.normalize:
            ones = torch.linalg.vecdot(dy, tile.cut(out).to(dy.dtype)).neg()
        else:
            ones = dy.new_zeros(dy.shape[:2])
        dy = tile.chunks(torch.cat([dy, ones[..., None]], dim=-1))

        start = kept_end - heads
        before = states(keys, values, kept[start:kept_end], w)[:, :-1].flatten(0, 1)
        kept_end = start
        outer = torch.bmm(w.enter(features).flatten(0, 1).mT, dy.flatten(0, 1))
        runs = torch.cat(
            [outer.view(heads, n, -1), gradient[tile.heads].flatten(1)[:, None]], dim=1
        )
        # Row i of `across`^T sums what comes after chunk i - 1: the exclusive sum from the end.
        after = torch.matmul(w.across.mT, runs).view(heads, n + 1, d, -1)
        gradient[tile.heads] = after[:, 0]
        after = after[:, 1:].flatten(0, 1)

        flat_q, flat_k, flat_v, flat_dy = (x.flatten(0, 1) for x in (features, keys, values, dy))
        back = weighted_scores(dy, values, w.within)
        dq_tile = torch.bmm(back, flat_k).baddbmm_(w.enter(dy).flatten(0, 1), before.mT)
        dk_tile = torch.bmm(back.mT, flat_q).baddbmm_(w.leave(values).flatten(0, 1), after.mT)
        dv_tile = torch.bmm(weighted_scores(keys, features, within_back), flat_dy)
        dv_tile.baddbmm_(w.leave(keys).flatten(0, 1), after)
        store(tile.cut(dq), dq_tile, options.phi.slope(features), None)
        gone = None if keep is None else ~tile.cut(keep)[..., None]
        store(tile.cut(dk), dk_tile, options.phi.slope(keys), gone)
        store(tile.cut(dv), dv_tile[..., :-1], None, gone)
    return dq, dk, dv, gradient


def store(target: Tensor, grad: Tensor, slope: Tensor | None, gone: Tensor | None) -> None:
    """Write a tile's gradient, through the feature map, nothing where masked."""
    if slope is not None:
        grad = grad * slope.flatten(0, 1)
    grad = grad.reshape(target.shape)
    target.copy_(grad if gone is None else grad.masked_fill(gone, 0))


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, state: Tensor, keep: Tensor | None,
                      decay: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Causal linear attention of N heads: out (N, T, M) and the final [S, z] (N, D, M + 1).

    Parameters
    ----------
    q, k, v : Tensor
        (N, T, D), (N, T, D), (N, T, M).
    state : Tensor
        (N, D, M + 1), the initial [S, z], in the dtype of accumulation.
    keep : Tensor or None
        (N, T) bool, False where a token is masked.
    decay : Tensor or None
        (N,) in (0, 1], no gradient.
    options : Options
        Map, eps, normalize, chunk size.
    """
    with torch.autocast(q.device.type, enabled=False):
        if torch.compiler.is_compiling():
            return plain(q, k, v, state, keep, decay, options)
        out, final, *_ = ChunkedAttention.apply(q, k, v, state, keep, decay, options)
        return out, final
