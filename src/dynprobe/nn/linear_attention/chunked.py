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

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from dynprobe.nn.linear_attention.feature_maps import ElementwiseMap
from dynprobe.nn.linear_attention.tiles import ROWS, Options, Tile, accumulation_dtype, tiles
from dynprobe.nn.linear_attention.weights import ChunkWeights


def load(tile: Tile, q: Tensor, k: Tensor, v: Tensor, phi: ElementwiseMap
         ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Features of a tile and its values with the column of ones: (heads n, C, .)."""
    dtype = accumulation_dtype(q)
    features, keys = phi(tile.cut(q).to(dtype)), phi(tile.cut(k).to(dtype))
    values = pad(tile.cut(v).to(dtype), (0, 1), value=1.0)
    return tile.chunks(features), tile.chunks(keys), tile.chunks(values)


def states(keys: Tensor, values: Tensor, initial: Tensor, w: ChunkWeights) -> Tensor:
    """State before every chunk, and after the last: (heads, n + 1, D, M')."""
    outer = torch.bmm(w.leave(keys).mT, values)
    runs = torch.cat([initial[:, None], outer.view(len(initial), -1, *outer.shape[1:])], dim=1)
    return torch.matmul(w.across, runs.flatten(2)).view(runs.shape)


def weighted_scores(a: Tensor, b: Tensor, within: Tensor) -> Tensor:
    """(A B^T) * W per chunk: (heads n, C, C)."""
    return torch.bmm(a, b.mT).mul_(within)


def forward_tile(q: Tensor, k: Tensor, v: Tensor, state: Tensor, w: ChunkWeights
                 ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Y (heads n, C, M') of a tile and the state after it."""
    before = states(k, v, state, w)
    y = torch.bmm(weighted_scores(q, k, w.within), v)
    y = y.baddbmm_(w.enter(q), before[:, :-1].flatten(0, 1))
    return y, before[:, -1]


def inverse(denominator: Tensor) -> Tensor:
    """1 / denominator, and 0 where it is 0: a token that sees no key outputs zero."""
    none = denominator == 0
    return denominator.masked_fill(none, 1).reciprocal().masked_fill(none, 0)


def plain(q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None, options: Options
          ) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The same function in operations autograd and torch.compile can follow.

    Used for the second derivative and under torch.compile. Keeps a state per chunk.
    """
    outs = [v.new_empty(v.shape[0], 0, v.shape[-1])]
    # Split, not sliced: the gradient of a slice is as long as the whole, so that of all slices
    # would be quadratic in time.
    cut = tiles(q, decay, options, rows=None)
    lengths = [t.time.stop - t.time.start for t in cut] or [0]
    parts = (x.split(lengths, dim=1) for x in (q, k, v))
    for tile, qs, ks, vs in zip(cut, *parts, strict=False):
        here = Tile(slice(None), slice(0, qs.shape[1]), tile.chunk, tile.weights)
        y, state = forward_tile(*load(here, qs, ks, vs, options.phi), state, tile.weights)
        out = y[..., :-1]
        if options.normalize:
            out = out * inverse(y[..., -1:] + options.eps)
        outs.append(out.to(v.dtype).view(vs.shape))
    return torch.cat(outs, dim=1), state


class ChunkedAttention(torch.autograd.Function):
    """Streaming forward and backward; see the module for the mathematics.

    (q, k, v, state, decay, options) -> (out, final state, inverse denominators, kept
    states, unrounded out); only the first two are differentiable. The last is None unless v is of
    half precision: dQ is a difference, and a rounded output would show in it.
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None,
                options: Options) -> tuple[Tensor | None, ...]:  # fmt: skip
        dtype = accumulation_dtype(q)
        exact = torch.empty(v.shape, dtype=dtype, device=v.device)
        scale = torch.ones(*v.shape[:2], 1, dtype=dtype, device=v.device)
        state, kept = state.clone(), []
        for tile in tiles(q, decay, options, rows=ROWS):
            kept.append(state[tile.heads].clone())
            loaded = load(tile, q, k, v, options.phi)
            y, after = forward_tile(*loaded, state[tile.heads], tile.weights)
            state[tile.heads] = after
            y = y.view(*tile.cut(exact).shape[:2], -1)
            if options.normalize:
                inverses = inverse(y[..., -1] + options.eps)[..., None]
                tile.cut(scale).copy_(inverses)
                torch.mul(y[..., :-1], inverses, out=tile.cut(exact))
            else:
                tile.cut(exact).copy_(y[..., :-1])
        before = torch.cat(kept) if kept else state[:0]
        if v.dtype == dtype:
            return exact, state, scale, before, None
        return exact.to(v.dtype), state, scale, before, exact

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        q, k, v, state, decay, ctx.options = inputs
        out, _, scale, kept, exact = output
        ctx.mark_non_differentiable(scale, kept, *([] if exact is None else [exact]))
        out = out if exact is None else exact
        ctx.save_for_backward(q, k, v, state, decay, out, scale, kept)

    @staticmethod
    def backward(ctx: Any, d_out: Tensor, d_state: Tensor, *_: Any) -> tuple[Any, ...]:
        q, k, v, state, decay, out, scale, kept = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            if torch.is_grad_enabled():  # create_graph: the gradient is to be differentiated
                grads: tuple[Tensor | None, ...] = differentiable_back(
                    (q, k, v, state), decay, ctx.options, ctx.needs_input_grad, (d_out, d_state)
                )
            else:
                grads = stream_back(q, k, v, decay, out, scale, kept, d_out, d_state, ctx.options)
            return (*grads, None, None)


def differentiable_back(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor], decay: Tensor | None, options: Options,
    needed: Sequence[bool],
    d_ends: tuple[Tensor, Tensor],
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients that autograd can differentiate again, by recomputing in plain operations."""
    with torch.autocast(inputs[0].device.type, enabled=False):
        ends = plain(*inputs, decay, options)
    wanted = [x for x, need in zip(inputs, needed, strict=False) if need]
    # The final state does not depend on q.
    live = [(end, d) for end, d in zip(ends, d_ends, strict=True) if end.requires_grad]
    found = iter(torch.autograd.grad(
        [end for end, _ in live], wanted, [d for _, d in live],
        create_graph=True, allow_unused=True,
    ))  # fmt: skip
    return tuple(next(found) if need else None for _, need in zip(inputs, needed, strict=False))


def stream_back(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor | None, out: Tensor, scale: Tensor,
    kept: Tensor, d_out: Tensor, d_state: Tensor, options: Options,
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
        w = tile.weights
        features, keys, values = load(tile, q, k, v, options.phi)
        here = tile.cut(out)
        dy = here.new_zeros(*here.shape[:2], here.shape[2] + 1)
        torch.mul(tile.cut(d_out), tile.cut(scale), out=dy[..., :-1])
        if options.normalize:
            dy[..., -1] = torch.linalg.vecdot(dy[..., :-1], here).neg_()
        dy = tile.chunks(dy)

        after_tile = gradient[tile.heads]
        start = kept_end - len(after_tile)
        before = states(keys, values, kept[start:kept_end], w)[:, :-1].flatten(0, 1)
        kept_end = start
        outer = torch.bmm(w.enter(features).mT, dy)
        runs = torch.cat(
            [outer.view(len(after_tile), -1, *outer.shape[1:]), after_tile[:, None]], dim=1
        )
        # Row i of `across`^T sums what comes after chunk i - 1: the exclusive sum from the end.
        after = torch.matmul(w.across.mT, runs.flatten(2)).view(runs.shape)
        gradient[tile.heads] = after[:, 0]
        after = after[:, 1:].flatten(0, 1)

        back = weighted_scores(dy, values, w.within)
        dq_tile = torch.bmm(back, keys).baddbmm_(w.enter(dy), before.mT)
        dk_tile = torch.bmm(back.mT, features).baddbmm_(w.leave(values), after.mT)
        dv_tile = torch.bmm(weighted_scores(keys, features, w.within.mT), dy)
        dv_tile.baddbmm_(w.leave(keys), after)
        for grad, found, phi in ((dq, dq_tile, features), (dk, dk_tile, keys)):
            target, slope = tile.cut(grad), options.phi.slope(phi)
            target.copy_(found.mul_(slope).view(target.shape))
        target = tile.cut(dv)
        target.copy_(dv_tile.view(here.shape[0], here.shape[1], -1)[..., :-1])
    return dq, dk, dv, gradient


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None,
                      options: Options) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Causal linear attention of N heads: out (N, T, M) and the final [S, z] (N, D, M + 1).

    Parameters
    ----------
    q, k, v : Tensor
        (N, T, D), (N, T, D), (N, T, M).
    state : Tensor
        (N, D, M + 1), the initial [S, z], in the dtype of accumulation.
    decay : Tensor or None
        (N,) in (0, 1], no gradient.
    options : Options
        Map, eps, normalize, chunk size.
    """
    if torch.compiler.is_compiling():
        return plain(q, k, v, state, decay, options)
    apply: Any = ChunkedAttention.apply
    out, final, *_ = apply(q, k, v, state, decay, options)
    return out, final
