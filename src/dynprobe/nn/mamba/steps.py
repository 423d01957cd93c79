"""The selective scan step by step in preallocated memory, forward and backward.

States are laid out (batch, N, inner): what has one number for each inner channel then multiplies
along contiguous memory. Sequences are taken a few at a time, so that one step's numbers stay in
the cache. The forward pass keeps the state before every stretch of steps; the backward pass runs
each stretch again. Keeping all states costs more in page faults than computing them twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, log, sqrt

import torch
from torch import Tensor

#: Bytes of one state of the sequences taken at a time; half of a small second-level cache.
_BLOCK_BYTES = 1 << 18


def forward_steps(
    x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, stretch: int
) -> tuple[Tensor, Tensor]:
    """C_t h_t of every step, and some of the states.

    Parameters
    ----------
    x, dt, A, B, C
        As for :func:`~dynprobe.nn.mamba.scan.selective_scan`.
    stretch
        The state before every so many steps is kept.

    Returns
    -------
    y : Tensor
        ``(batch, time, inner)``, in memory with time first.
    starts : Tensor
        ``(ceil(time / stretch), batch, N, inner)``, the initial state first.
    """
    batch, time, inner = x.shape
    n = A.shape[1]
    y = _time_first(x)
    starts = x.new_empty(ceil(time / stretch), batch, n, inner)
    added, exponent = dt * x, _base_two(A)
    size = _block_size(batch, A)
    state, decay = (x.new_empty(size, n, inner) for _ in range(2))
    for rows in _blocks(batch, size):
        h, a = state[: rows.stop - rows.start].zero_(), decay[: rows.stop - rows.start]
        dts, us, cs, outs = (_over_time(z[rows], 2) for z in (dt, added, C, y))
        bs = _over_time(B[rows], 3)
        for t in range(time):
            if t % stretch == 0:
                starts[t // stretch, rows] = h
            torch.mul(dts[t], exponent, out=a).exp2_()
            h.mul_(a).addcmul_(us[t], bs[t])
            torch.bmm(cs[t], h, out=outs[t])
    return y, starts


def backward_steps(
    grad: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    starts: Tensor,
    *,
    stretch: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients by x, dt, A, B and C, given that by y, ``(batch, time, inner)``.

    With g_t the gradient by h_t, g_t = exp(dt_{t+1} A) g_{t+1} + C_t grad_t; the rest follows from
    g_t and h_t at every step.
    """
    batch, time, inner = x.shape
    n = A.shape[1]
    added, exponent, rates = dt * x, _base_two(A), A.T.contiguous()
    by_added, by_dt, by_b, by_c = (_time_first(z) for z in (x, dt, B, C))
    size = _block_size(batch, A)
    states, decays = (x.new_empty(stretch + 1, size, n, inner) for _ in range(2))
    through, products = (x.new_empty(size, n, inner) for _ in range(2))
    by_rates = x.new_zeros(size, n, inner)
    for rows in _blocks(batch, size):
        taken = slice(rows.stop - rows.start)
        hs, decay = states[:, taken].unbind(0), decays[:, taken].unbind(0)
        g, product, by_rate = through[taken].zero_(), products[taken], by_rates[taken]
        dts, us, grads, by_us, by_bs, by_cs, bs = (
            _over_time(z[rows], 2) for z in (dt, added, grad, by_added, by_b, by_c, B)
        )
        written, read = _over_time(B[rows], 3), _over_time(C[rows], 3)
        by_dts = by_dt[rows].unbind(1)
        for start in reversed(range(0, time, stretch)):
            steps = range(start, min(start + stretch, time))
            hs[0].copy_(starts[start // stretch, rows])
            _again(hs, decay, exponent, dts[start:], us[start:], written[start:], len(steps))
            for t in reversed(steps):
                before, after, a = hs[t - start], hs[t - start + 1], decay[t - start]
                g.addcmul_(grads[t], read[t])
                torch.bmm(grads[t], after.transpose(1, 2), out=by_cs[t])
                torch.bmm(us[t], g.transpose(1, 2), out=by_bs[t])
                torch.bmm(bs[t], g, out=by_us[t])
                g.mul_(a)
                # d exp(dt A) / d(dt A) is exp(dt A) again, which g has by now
                torch.mul(g, before, out=product)
                by_rate.addcmul_(product, dts[t])
                torch.sum(product.mul_(rates), 1, out=by_dts[t])
    by_x = by_added * dt
    by_dt.addcmul_(by_added, x)
    return by_x, by_dt, by_rates.sum(0).T, by_b, by_c


def _again(
    hs: Sequence[Tensor],
    decay: Sequence[Tensor],
    exponent: Tensor,
    dts: Sequence[Tensor],
    us: Sequence[Tensor],
    bs: Sequence[Tensor],
    steps: int,
) -> None:
    """Fill in the decays and states of a stretch whose first state is there."""
    for i in range(steps):
        torch.mul(dts[i], exponent, out=decay[i]).exp2_()
        torch.mul(hs[i], decay[i], out=hs[i + 1]).addcmul_(us[i], bs[i])


def stretch_of(time: int) -> int:
    """Steps of a stretch: about as many as there are stretches, which takes the least memory."""
    return max(1, ceil(sqrt(time)))


def _base_two(A: Tensor) -> Tensor:
    """``(N, inner)`` so that exp(dt A) = 2 ** (dt result): exp2 takes half of the time of exp."""
    return (A.T / log(2)).contiguous()


def _block_size(batch: int, A: Tensor) -> int:
    """How many sequences to take at a time."""
    if A.device.type != "cpu":
        return max(batch, 1)
    return max(1, min(batch, _BLOCK_BYTES // max(1, A.numel() * A.element_size())))


def _blocks(batch: int, size: int) -> Iterator[slice]:
    for start in range(0, batch, size):
        yield slice(start, min(start + size, batch))


def _time_first(like: Tensor) -> Tensor:
    """Memory of the shape of `like`; a product writes fast to where a step is contiguous only."""
    return like.new_empty(like.shape[1], like.shape[0], like.shape[2]).transpose(0, 1)


def _over_time(z: Tensor, axis: int) -> tuple[Tensor, ...]:
    """One view a step of ``(batch, time, width)``, with a new axis; each costs as much as an op."""
    return z.unsqueeze(axis).unbind(1)
