"""The triton backend: forward and backward as one causal product with different operands.

    out = product(phi(Q), phi(K), [V, 1]) / its last column
    dQ  = product([dY, l], [V, 1], phi(K)) phi'(Q)       dY = dOut s, l = -s dOut.out
    dK  = product([V, 1], [dY, l], phi(Q)) phi'(K)       from the end of time
    dV  = product(phi(K), phi(Q), dY)                    from the end of time

with s the inverse denominator. The feature map, its slope and the normaliser are inside the
kernels; beyond inputs and outputs memory holds s, dY and one state per segment of 256 tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynprobe.nn.linear_attention import triton_kernels as kernels
from dynprobe.nn.linear_attention.chunked import differentiable_back
from dynprobe.nn.linear_attention.tiles import Options

SEGMENT = 256


def fused_attention(q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None,
                    options: Options) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As :func:`~dynprobe.nn.linear_attention.chunked.chunked_attention`, in Triton."""
    # dQ is a difference, and an output rounded to half precision would show in it.
    exact = q.dtype != torch.float32 and torch.is_grad_enabled()
    apply: Any = FusedAttention.apply
    out, s, z, *_ = apply(
        q.contiguous(), k.contiguous(), v.contiguous(), state[..., :-1].contiguous(),
        state[..., -1].contiguous(), decay, options, exact,
    )  # fmt: skip
    return out, torch.cat([s, z[..., None]], dim=-1)


class Launch:
    """Sizes and switches the kernels of one call share."""

    def __init__(self, q: Tensor, v: Tensor, decay: Tensor | None, options: Options) -> None:
        width = max(q.shape[-1], v.shape[-1])
        self.n, self.steps = q.shape[:2]
        # What a program holds at once has to fit shared memory, exact float32 products most.
        longest = 64 if q.dtype != torch.float32 else 32
        if width > 128:
            longest //= 2
        self.chunk = min(max(kernels.next_power_of_2(options.chunk_size), 16), longest)
        self.segments = kernels.cdiv(self.steps, SEGMENT)
        self.log_decay = None if decay is None else decay.log().float()
        # float32 in, float32 products; for half precision TF32 holds more digits than the inputs.
        self.precision = "ieee" if q.dtype == torch.float32 else "tf32"

    @property
    def common(self) -> dict[str, Any]:
        return {
            "DECAY": self.log_decay is not None,
            "CHUNK": self.chunk,
            "SEGMENT": SEGMENT,
            "PRECISION": self.precision,
        }

    def states(self, b: Tensor, c: Tensor, last: Tensor | None, b_map: int, s: Tensor, z: Tensor,
               *, reverse: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """S and z before every segment (N, segments, B, C) and after all (N, B, C)."""
        width_b, width_c = b.shape[-1], c.shape[-1]
        sums = s.new_empty(self.n, self.segments, width_b, width_c)
        norms = z.new_empty(self.n, self.segments, width_b)
        block_b, block_c = (min(_block(w), 64) for w in (width_b, width_c))
        blocks = kernels.cdiv(width_b, block_b) * kernels.cdiv(width_c, block_c)
        if sums.numel() or norms.numel():
            kernels.segment_sums[self.n, self.segments, blocks](
                b, c, last, sums, norms, self.log_decay, self.steps, self.segments,
                width_b, width_c, B_MAP=b_map, REVERSE=reverse, HAS_LAST=last is not None,
                BLOCK_B=block_b, BLOCK_C=block_c, **self.common,
            )  # fmt: skip
        ends = s.clone(), z.clone()
        for x, end in zip((sums, norms), ends, strict=True):
            size = x[0, 0].numel() if x.numel() else 0
            if size:
                kernels.scan[self.n, kernels.cdiv(size, 256)](
                    x, end, self.log_decay, self.steps, self.segments, size,
                    DECAY=self.log_decay is not None, SEGMENT=SEGMENT, BLOCK=256,
                )  # fmt: skip
        return sums, norms, *ends

    def product(
        self, a: Tensor, b: Tensor, c: Tensor, s: Tensor, z: Tensor | None, out: Tensor, *,
        maps: tuple[int, int, int], strides: tuple[int, int], reverse: bool = False,
        a_last: Tensor | None = None, b_last: Tensor | None = None, slope: int = -1,
        raw: Tensor | None = None, scale: Tensor | None = None,
        exact: Tensor | None = None, eps: float = 0.0,
    ) -> None:  # fmt: skip
        """Launch `causal_product` into `out`."""
        if out.numel() == 0:
            return
        width_a, width_c = a.shape[-1], c.shape[-1]
        block_a = _block(width_a)
        block_c = min(_block(width_c), 32 if block_a > 64 else 64)
        kernels.causal_product[self.n, self.segments, kernels.cdiv(width_c, block_c)](
            a, b, c, a_last, b_last, s, z, raw, out, exact, scale, self.log_decay, eps, self.steps,
            self.segments, width_a, width_c, *strides,
            A_MAP=maps[0], B_MAP=maps[1], C_MAP=maps[2], SLOPE=slope, REVERSE=reverse,
            A_LAST=a_last is not None, B_LAST=b_last is not None, NORMALIZE=scale is not None,
            EXACT=exact is not None,            BLOCK_A=block_a, BLOCK_C=block_c, **self.common,
        )  # fmt: skip


def _block(width: int) -> int:
    """The power of two a width is padded to; tensor cores take 16 at least."""
    return max(16, 1 << (width - 1).bit_length()) if width else 16


class FusedAttention(torch.autograd.Function):
    """(q, k, v, S, z, decay, options, keep_exact) -> (out, S, z, inverse denominators, exact).

    Exact: the output unrounded, or None. Differentiable are the first three.
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, s: Tensor, z: Tensor, decay: Tensor | None,
                options: Options, keep_exact: bool) -> tuple[Tensor | None, ...]:  # fmt: skip
        launch, phi = Launch(q, v, decay, options), kernels.MAPS[options.phi.name]
        out, scale = torch.empty_like(v), s.new_ones(v.shape[:2])
        exact = torch.empty_like(v, dtype=s.dtype) if keep_exact else None
        before, norms, s_end, z_end = launch.states(k, v, None, phi, s, z, reverse=False)
        launch.product(
            q, k, v, before, norms, out, maps=(phi, phi, 0), strides=(v.shape[-1], 1),
            scale=scale if options.normalize else None, exact=exact, eps=options.eps,
        )  # fmt: skip
        return out, s_end, z_end, scale, exact

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *_, scale, exact = output
        ctx.options = inputs[6]
        ctx.mark_non_differentiable(scale, *([] if exact is None else [exact]))
        ctx.save_for_backward(*inputs[:6], output[0] if exact is None else exact, scale)

    @staticmethod
    def backward(
        ctx: Any, d_out: Tensor, d_s: Tensor, d_z: Tensor, *_others: Any
    ) -> tuple[Any, ...]:
        q, k, v, s, z, decay, out, scale = ctx.saved_tensors
        options: Options = ctx.options
        if torch.is_grad_enabled():  # create_graph: the gradient is to be differentiated
            return _differentiable(ctx, (q, k, v, s, z), decay, (d_out, d_s, d_z))
        launch, phi = Launch(q, v, decay, options), kernels.MAPS[options.phi.name]
        m = v.shape[-1]
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        dy = d_out.float() * scale[..., None]
        if options.normalize:
            last = torch.linalg.vecdot(dy, out.float()).neg()
        else:
            last = torch.zeros_like(scale)
        before, norms, _, _ = launch.states(k, v, None, phi, s, z, reverse=False)
        launch.product(
            dy, v, k, before, norms, dq, maps=(0, 0, phi), strides=(1, m), a_last=last, slope=phi,
            raw=q,
        )  # fmt: skip
        # The gradient of the state, from the end: R_t = decay R_{t+1} + phi(q_t) dy_t^T. The kernel
        # decays what it is given before the first token; the gradient of the last state is not.
        rate = 1.0 if decay is None else decay.view(-1, 1, 1)
        after, norms, ds, dz = launch.states(
            q, dy, last, phi, d_s / rate, d_z / (rate if decay is None else decay[:, None]),
            reverse=True,
        )  # fmt: skip
        launch.product(
            v, dy, q, after, norms, dk, maps=(0, 0, phi), strides=(1, m), b_last=last, slope=phi,
            raw=k, reverse=True,
        )  # fmt: skip
        launch.product(k, q, dy, after, None, dv, maps=(phi, phi, 0), strides=(m, 1), reverse=True)
        return (
            dq,
            dk,
            dv,
            ds * rate,
            dz * (1.0 if decay is None else decay[:, None]),
            None,
            None,
            None,
        )


def _differentiable(
    ctx: Any, inputs: tuple[Tensor, ...], decay: Tensor | None, d_ends: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    q, k, v, s, z = inputs
    d_out, d_s, d_z = d_ends
    needs = ctx.needs_input_grad
    state = torch.cat([s, z[..., None]], dim=-1)
    joined = torch.cat([d_s, d_z[..., None]], dim=-1)
    dq, dk, dv, d_state = differentiable_back(
        (q, k, v, state), decay, ctx.options, (*needs[:3], needs[3] or needs[4]), (d_out, joined)
    )
    ds, dz = (None, None) if d_state is None else (d_state[..., :-1], d_state[..., -1])
    return dq, dk, dv, ds, dz, None, None, None
