"""Linear attention as functions: causal, one token at a time, and over whole sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.errors import BackendError, ShapeError
from dynprobe.nn.linear_attention import backends
from dynprobe.nn.linear_attention.checks import (
    check_inputs,
    decay_rates,
    joined_state,
    kept_tokens,
)
from dynprobe.nn.linear_attention.chunked import inverse
from dynprobe.nn.linear_attention.feature_maps import (
    ElementwiseMap,
    FeatureMapLike,
    split_map,
)
from dynprobe.nn.linear_attention.reference import State, step
from dynprobe.nn.linear_attention.tiles import Options, accumulation_dtype


def causal_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    feature_map: FeatureMapLike = "elu",
    eps: float = 1e-6,
    normalize: bool = True,
    decay: Tensor | float | None = None,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_state: State | None = None,
    return_state: bool = False,
    chunk_size: int = 64,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, State]:
    """Causal linear attention (Katharopoulos et al. 2020, eqs. 8 to 12) in linear time and memory.

    S_t = decay S_{t-1} + phi(k_t) v_t^T,  z_t = decay z_{t-1} + phi(k_t),
    out_t = phi(q_t)^T S_t / (phi(q_t)^T z_t + eps).

    Parameters
    ----------
    q, k : Tensor
        Pre-activations, (batch, heads, time, D): the map is applied inside.
    v : Tensor
        (batch, heads, time, M).
    feature_map : str, callable or None
        "elu", "relu", "squared_relu"; a callable (..., D) -> (..., D'), such as
        :class:`~dynprobe.nn.FavorFeatures`; None if q and k are features already, which
        `normalize` checks to be >= 0.
    eps : float
        Added to the denominator. A token that sees no key outputs zero also with 0.
    normalize : bool
        False leaves the denominator out.
    decay : Tensor or float, optional
        (heads,) or one number, in (0, 1]. A constant: only the reference backend gives it a
        gradient. Time goes on at masked positions.
    mask : Tensor, optional
        (batch, time), True or 1 where the token counts. phi(k) and v are zero elsewhere.
    lengths : Tensor, optional
        (batch,) numbers of tokens that count, from the start; instead of `mask`.
    initial_state : (Tensor, Tensor), optional
        (S, z) of what came before, (batch, heads, D', M) and (batch, heads, D').
    return_state : bool
        Also return the final (S, z), in float32 at least.
    chunk_size : int
        Tokens per chunk.
    backend : str
        "reference", "torch", "triton", "fla" or "auto"; :func:`linear_attention_backend` says
        which one "auto" is.

    Returns
    -------
    Tensor or (Tensor, (Tensor, Tensor))
        (batch, heads, time, M) in v's dtype, and the state if asked for.

    Raises
    ------
    ShapeError
        If shapes, dtypes or devices do not fit, or both `mask` and `lengths` are given.
    FeatureMapError
        If features are negative under `normalize`.
    BackendError
        If the backend is unknown, not there, or cannot do what is asked.
    ValueError
        If eps, decay or chunk_size is out of range.
    """
    check_inputs(q, k, v)
    if eps < 0 or chunk_size < 1:
        raise ValueError(f"eps is {eps} and chunk_size {chunk_size}; eps >= 0, chunk_size >= 1.")
    q, k, phi = split_map(q, k, feature_map, nonnegative=normalize)
    name = backends.choose(q, v, backend)
    batch, heads = v.shape[:2]
    state = joined_state(q, v, initial_state)
    k, v = _masked(k, v, phi, kept_tokens(v, mask, lengths))
    rates = decay_rates(decay, heads, v)
    if rates is not None:
        rates = rates.repeat(batch)
        if rates.requires_grad and torch.is_grad_enabled() and name != "reference":
            raise BackendError(
                f"The {name} backend takes decay as a constant; detach it, or get its gradient "
                "from backend='reference'."
            )
    kernel = backends.load(name)
    flat = [x.reshape(batch * heads, *x.shape[2:]) for x in (q, k, v, state)]
    with torch.autocast(v.device.type, enabled=False):
        out, final = kernel(*flat, rates, Options(phi, eps, normalize, chunk_size))
    out = out.view(v.shape)
    if not return_state:
        return out
    final = final.view(state.shape)
    return out, (final[..., :-1], final[..., -1])


def linear_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: State | None = None,
    *,
    feature_map: FeatureMapLike = "elu",
    eps: float = 1e-6,
    normalize: bool = True,
    decay: Tensor | float | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, State]:
    """One token of :func:`causal_linear_attention`: constant time and memory.

    Parameters
    ----------
    q, k, v : Tensor
        (batch, heads, D), (batch, heads, D), (batch, heads, M).
    state : (Tensor, Tensor), optional
        (S, z) before the token; None at the start. Not changed in place.
    feature_map, eps, normalize, decay
        As in :func:`causal_linear_attention`.
    mask : Tensor, optional
        (batch,), False where the token does not count.

    Returns
    -------
    (Tensor, (Tensor, Tensor))
        (batch, heads, M) in v's dtype, and (S, z) after the token, in float32 at least.
    """
    if q.dim() != 3:
        raise ShapeError(f"q is {tuple(q.shape)}; one token is (batch, heads, D).")
    check_inputs(*(x.unsqueeze(2) for x in (q, k, v)))
    q, k, phi = split_map(q, k, feature_map, nonnegative=normalize)
    before = joined_state(q, v, state)
    if mask is not None:
        keep = kept_tokens(v[:, :, None], mask[:, None], None)
        k, v = (x.squeeze(2) for x in _masked(k[:, :, None], v[:, :, None], phi, keep))
    features, keys, values = (x.to(before.dtype) for x in (q, k, v))
    rates = decay_rates(decay, q.shape[1], v)
    now = before[..., :-1], before[..., -1]
    options = Options(phi, eps, normalize, chunk_size=1)
    with torch.autocast(v.device.type, enabled=False):
        out, now = step(phi(features), phi(keys), values, now, rates, options)
    return out.to(v.dtype), now


def noncausal_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    feature_map: FeatureMapLike = "elu",
    eps: float = 1e-6,
    normalize: bool = True,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Linear attention without causality (eqs. 5 and 6): every query sees every key.

    Queries and keys may differ in number: (batch, heads, time_q, D), (batch, heads, time_k, D),
    (batch, heads, time_k, M) -> (batch, heads, time_q, M). `mask` (batch, time_k) and `lengths`
    speak of keys. The other parameters are those of :func:`causal_linear_attention`.
    """
    check_inputs(q, k, v, causal=False)
    q, k, phi = split_map(q, k, feature_map, nonnegative=normalize)
    dtype = accumulation_dtype(v)
    with torch.autocast(v.device.type, enabled=False):
        k, v = _masked(k, v, phi, kept_tokens(v, mask, lengths))
        features, keys, values = phi(q.to(dtype)), phi(k.to(dtype)), v.to(dtype)
        s, z = keys.mT @ values, keys.sum(dim=2)
        out = features @ s
        if normalize:
            out = out * inverse(features @ z[..., None] + eps)
    return out.to(v.dtype)


def _masked(
    k: Tensor, v: Tensor, phi: ElementwiseMap, keep: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Keys whose phi is zero, and zero values, where `keep` (batch, time) is False.

    Not the values alone: phi(k) would still count in the denominator. Not phi(k) alone: padding
    may hold NaN.
    """
    if keep is None:
        return k, v
    gone = ~keep[:, None, :, None]
    return k.masked_fill(gone, phi.absent), v.masked_fill(gone, 0.0)
