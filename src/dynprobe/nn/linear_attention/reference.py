"""The definition: one token at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.nn.linear_attention.chunked import inverse
from dynprobe.nn.linear_attention.tiles import Options

State = tuple[Tensor, Tensor]
"""(S, z): (..., D, M) and (..., D), the sums of phi(k) v^T and of phi(k)."""


def step(q: Tensor, k: Tensor, v: Tensor, state: State, decay: Tensor | None, options: Options
         ) -> tuple[Tensor, State]:  # fmt: skip
    """S' = decay S + k v^T, z' = decay z + k, and q^T S' / (q^T z' + eps), of features q, k."""
    s, z = state
    if decay is not None:
        s, z = decay[:, None, None] * s, decay[:, None] * z
    s, z = s + k[..., :, None] * v[..., None, :], z + k
    out = (q[..., None, :] @ s).squeeze(-2)
    if options.normalize:
        out = out * inverse((q * z).sum(-1, keepdim=True) + options.eps)
    return out, (s, z)


def reference_attention(q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None,
                        options: Options) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As :func:`~dynprobe.nn.linear_attention.chunked.chunked_attention`, step by step.

    Every state is kept for the backward pass: (T, D, M) numbers. `decay` may need a gradient.
    """
    features, keys, values = (x.to(state.dtype) for x in (q, k, v))
    features, keys = options.phi(features), options.phi(keys)
    now = state[..., :-1], state[..., -1]
    outs = [values[:, :0]]
    for qt, kt, vt in zip(features.unbind(1), keys.unbind(1), values.unbind(1), strict=True):
        out, now = step(qt, kt, vt, now, decay, options)
        outs.append(out[:, None])
    return torch.cat(outs, dim=1).to(v.dtype), torch.cat([now[0], now[1][..., None]], dim=-1)
