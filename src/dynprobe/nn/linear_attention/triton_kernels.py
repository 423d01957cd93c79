# mypy: disable-error-code="no-untyped-def,untyped-decorator,import-untyped"
"""Triton kernels of linear attention: sums over segments of time, their scan, causal products.

Time is cut into segments. `segment_sums` adds up b_t c_t^T in each, all in parallel;
`scan` turns the sums into the state before each segment; `causal_product` walks through each
segment chunk by chunk with that state in registers. Forward and backward are the same product
with other operands (fused.py), backwards in time for the gradients of k and v.
"""

from __future__ import annotations

import triton
import triton.language as tl

cdiv, next_power_of_2 = triton.cdiv, triton.next_power_of_2

# Maps by number, in the order of `feature_map` and `feature_slope`.
MAPS = {"identity": 0, "elu": 1, "relu": 2, "squared_relu": 3}


@triton.jit
def feature_map(x, MAP: tl.constexpr):  # noqa: D103
    if MAP == 1:
        x = tl.where(x > 0, x + 1, tl.exp(tl.minimum(x, 0.0)))
    elif MAP == 2:
        x = tl.maximum(x, 0.0)
    elif MAP == 3:
        x = tl.maximum(x, 0.0) * tl.maximum(x, 0.0)
    return x


@triton.jit
def feature_slope(x, MAP: tl.constexpr):  # noqa: D103
    if MAP == 1:
        x = tl.where(x > 0, 1.0, tl.exp(tl.minimum(x, 0.0)))
    elif MAP == 2:
        x = tl.where(x > 0, 1.0, 0.0)
    elif MAP == 3:
        x = 2 * tl.maximum(x, 0.0)
    return x


@triton.jit
def rows(x, n, t, live, col, T, WIDTH, MAP: tl.constexpr):
    """Features (len(t), len(col)) of x (N, T, WIDTH), zero outside: phi(0) need not be zero."""
    inside = live[:, None] & (col < WIDTH)[None, :]
    at = (n * T + t[:, None]) * WIDTH + col[None, :]
    value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, feature_map(value, MAP), 0.0)


@triton.jit
def segment_sums(
    b, c, last, s, z, log_decay, T, N_SEGMENTS, WIDTH_B, WIDTH_C,
    B_MAP: tl.constexpr, REVERSE: tl.constexpr, HAS_LAST: tl.constexpr, DECAY: tl.constexpr,
    CHUNK: tl.constexpr, SEGMENT: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """s (N, segments, B, C) = sum b_t c_t^T, z (N, segments, B) = sum b_t last_t, decayed."""
    n, segment = tl.program_id(0).to(tl.int64), tl.program_id(1)
    blocks_c = tl.cdiv(WIDTH_C, BLOCK_C)
    col_b = (tl.program_id(2) // blocks_c) * BLOCK_B + tl.arange(0, BLOCK_B)
    col_c = (tl.program_id(2) % blocks_c) * BLOCK_C + tl.arange(0, BLOCK_C)
    end = tl.minimum((segment + 1) * SEGMENT, T)
    outer = tl.zeros((BLOCK_B, BLOCK_C), tl.float32)
    total = tl.zeros((BLOCK_B,), tl.float32)
    for start in range(segment * SEGMENT, end, CHUNK):
        p = start + tl.arange(0, CHUNK)
        live = p < end
        t = T - 1 - p if REVERSE else p
        left = rows(b, n, t, live, col_b, T, WIDTH_B, B_MAP)
        right = rows(c, n, t, live, col_c, T, WIDTH_C, 0)
        if DECAY:
            left *= tl.exp(tl.load(log_decay + n) * tl.where(live, end - 1 - p, 0))[:, None]
        outer += tl.dot(tl.trans(left), right, input_precision=PRECISION)
        if HAS_LAST:
            left *= tl.load(last + n * T + t, mask=live, other=0.0)[:, None]
        total += tl.sum(left, 0)
    row = n * N_SEGMENTS + segment
    inside = (col_b < WIDTH_B)[:, None] & (col_c < WIDTH_C)[None, :]
    at = (row * WIDTH_B + col_b[:, None]) * WIDTH_C + col_c[None, :]
    tl.store(s + at, outer, mask=inside)
    if tl.program_id(2) % blocks_c == 0:
        tl.store(z + row * WIDTH_B + col_b, total, mask=col_b < WIDTH_B)


@triton.jit
def scan(
    x, state, log_decay, T, N_SEGMENTS, SIZE,
    DECAY: tl.constexpr, SEGMENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums x (N, segments, SIZE) -> state before each, in place; state (N, SIZE) -> the last."""
    n = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < SIZE
    now = tl.load(state + n * SIZE + i, mask=inside, other=0.0)
    for segment in range(0, N_SEGMENTS):
        at = x + (n * N_SEGMENTS + segment) * SIZE + i
        added = tl.load(at, mask=inside, other=0.0)
        tl.store(at, now, mask=inside)
        if DECAY:
            length = tl.minimum(SEGMENT, T - segment * SEGMENT)
            now *= tl.exp(tl.load(log_decay + n) * length)
        now += added
    tl.store(state + n * SIZE + i, now, mask=inside)


@triton.jit
def causal_product(
    a, b, c, a_last, b_last, s, z, raw, out, exact, scale, log_decay, eps, T, N_SEGMENTS,
    WIDTH_A, WIDTH_C, STRIDE_A, STRIDE_C,
    A_MAP: tl.constexpr, B_MAP: tl.constexpr, C_MAP: tl.constexpr, SLOPE: tl.constexpr,
    REVERSE: tl.constexpr, A_LAST: tl.constexpr, B_LAST: tl.constexpr, NORMALIZE: tl.constexpr,
    EXACT: tl.constexpr, DECAY: tl.constexpr, CHUNK: tl.constexpr, SEGMENT: tl.constexpr,
    BLOCK_A: tl.constexpr, BLOCK_C: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """out_t = sum over j up to t of decay^(t-j) (a_t . b_j) c_j, and decay^(t+1) a_t^T S before.

    a, b (N, T, A), c (N, T, C); s (N, segments, A, C) by strides. A_LAST or B_LAST: a or b has one
    more column, a_last or b_last (N, T), the other one's being ones, and z (N, segments, C).
    NORMALIZE: c has a column of ones, z (N, segments, A), and out is divided by what that column
    gives, + eps; its inverse is kept in `scale`. EXACT: `exact` is out in float32. SLOPE >= 0:
    times the slope of that map at `raw`.
    """
    n, segment = tl.program_id(0).to(tl.int64), tl.program_id(1)
    col_a = tl.arange(0, BLOCK_A)
    col_c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    end = tl.minimum((segment + 1) * SEGMENT, T)
    row = n * N_SEGMENTS + segment
    at = row * WIDTH_A * WIDTH_C + col_a[:, None] * STRIDE_A + col_c[None, :] * STRIDE_C
    inside = (col_a < WIDTH_A)[:, None] & (col_c < WIDTH_C)[None, :]
    state = tl.load(s + at, mask=inside, other=0.0)
    if NORMALIZE:
        norm = tl.load(z + row * WIDTH_A + col_a, mask=col_a < WIDTH_A, other=0.0)
    if A_LAST or B_LAST:
        norm = tl.load(z + row * WIDTH_C + col_c, mask=col_c < WIDTH_C, other=0.0)
    i = tl.arange(0, CHUNK)
    rate = tl.load(log_decay + n) if DECAY else 0.0
    for start in range(segment * SEGMENT, end, CHUNK):
        p = start + i
        live = p < end
        t = T - 1 - p if REVERSE else p
        at_a = rows(a, n, t, live, col_a, T, WIDTH_A, A_MAP)
        at_b = rows(b, n, t, live, col_a, T, WIDTH_A, B_MAP)
        at_c = rows(c, n, t, live, col_c, T, WIDTH_C, C_MAP)
        scores = tl.dot(at_a, tl.trans(at_b), input_precision=PRECISION)
        if A_LAST:
            last = tl.load(a_last + n * T + t, mask=live, other=0.0)
            scores += last[:, None]
        if B_LAST:
            last = tl.load(b_last + n * T + t, mask=live, other=0.0)
            scores += last[None, :]
        seen = i[:, None] >= i[None, :]
        if DECAY:
            scores *= tl.exp(rate * tl.where(seen, i[:, None] - i[None, :], 0))
        scores = tl.where(seen, scores, 0.0)
        inter = tl.dot(at_a, state, input_precision=PRECISION)
        if A_LAST:
            inter += last[:, None] * norm[None, :]
        if B_LAST:
            inter += tl.where(live, 1.0, 0.0)[:, None] * norm[None, :]
        if DECAY:
            inter *= tl.exp(rate * (i + 1))[:, None]
        y = tl.dot(scores, at_c, input_precision=PRECISION) + inter
        at_out = (n * T + t[:, None]) * WIDTH_C + col_c[None, :]
        inside_out = live[:, None] & (col_c < WIDTH_C)[None, :]
        if NORMALIZE:
            below = tl.sum(at_a * norm[None, :], 1)
            if DECAY:
                below *= tl.exp(rate * (i + 1))
            below += tl.sum(scores, 1) + eps
            inverse = tl.where(below == 0, 0.0, 1.0 / tl.where(below == 0, 1.0, below))
            y *= inverse[:, None]
            if tl.program_id(2) == 0:
                tl.store(scale + n * T + t, inverse, mask=live)
        if SLOPE >= 0:
            x = tl.load(raw + at_out, mask=inside_out, other=0.0).to(tl.float32)
            if SLOPE > 0:
                y *= feature_slope(x, SLOPE)
        if EXACT:
            tl.store(exact + at_out, y, mask=inside_out)
        tl.store(out + at_out, y.to(out.dtype.element_ty), mask=inside_out)
        if DECAY:
            # All chunks but the last are whole, and after the last nobody reads the state.
            kept = tl.exp(rate * CHUNK)
            state *= kept
            at_b *= tl.exp(rate * (CHUNK - 1 - i))[:, None]
            if NORMALIZE:
                norm *= kept
        state += tl.dot(tl.trans(at_b), at_c, input_precision=PRECISION)
        if NORMALIZE:
            norm += tl.sum(at_b, 0)
        if A_LAST:
            if DECAY:
                norm *= kept
                at_c *= tl.exp(rate * (CHUNK - 1 - i))[:, None]
            norm += tl.sum(at_c, 0)
        if B_LAST:
            if DECAY:
                norm *= kept
                last *= tl.exp(rate * (CHUNK - 1 - i))
            norm += tl.sum(last[:, None] * at_c, 0)
