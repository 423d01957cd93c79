"""What the functions of linear attention are given, checked and brought to one form."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.errors import ShapeError
from dynprobe.nn.linear_attention.tiles import accumulation_dtype


def check_inputs(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True) -> None:
    """(batch, heads, time, D), the same, (batch, heads, time, M); one dtype, one device."""
    shapes = f"q is {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    if not (q.dim() == k.dim() == v.dim() == 4):
        raise ShapeError(f"{shapes}; each must be (batch, heads, time, dim).")
    if not (q.shape[:2] == k.shape[:2] == v.shape[:2] and k.shape[2] == v.shape[2]
            and (not causal or q.shape[2] == k.shape[2])):  # fmt: skip
        raise ShapeError(f"{shapes}; batch, heads and time must agree.")
    if q.shape[3] != k.shape[3]:
        raise ShapeError(f"{shapes}; q and k must be equally wide.")
    if not (q.dtype == k.dtype == v.dtype and q.is_floating_point()):
        raise ShapeError(
            f"q is {q.dtype}, k {k.dtype}, v {v.dtype}; they must be of one floating type."
        )
    if not (q.device == k.device == v.device):
        raise ShapeError(f"q is on {q.device}, k on {k.device}, v on {v.device}; use one device.")


def kept_tokens(v: Tensor, mask: Tensor | None, lengths: Tensor | None) -> Tensor | None:
    """(batch, time) bool, True where a token counts; None if all do."""
    batch, steps = v.shape[0], v.shape[2]
    if mask is not None and lengths is not None:
        raise ShapeError("Both mask and lengths are given; give one of them.")
    if lengths is not None:
        if lengths.shape != (batch,):
            raise ShapeError(f"lengths is {tuple(lengths.shape)}; the batch needs ({batch},).")
        return torch.arange(steps, device=v.device) < lengths.to(v.device)[:, None]
    if mask is None:
        return None
    if mask.shape != (batch, steps):
        raise ShapeError(
            f"mask is {tuple(mask.shape)}; it must be (batch, time) = ({batch}, {steps}), "
            "True where a token counts."
        )
    if mask.is_floating_point():
        raise ShapeError(f"mask is {mask.dtype}; pass bool or 0/1, not numbers to be added.")
    return mask.to(device=v.device, dtype=torch.bool)


def decay_rates(decay: Tensor | float | None, heads: int, like: Tensor) -> Tensor | None:
    """(heads,) rates in (0, 1], or None for none. Values are not looked at under compile."""
    if decay is None:
        return None
    dtype = accumulation_dtype(like)
    rates = torch.as_tensor(decay, dtype=dtype, device=like.device)
    if rates.dim() == 0:
        rates = rates.expand(heads)
    if rates.shape != (heads,):
        raise ShapeError(f"decay is {tuple(rates.shape)}; give one number or ({heads},) of them.")
    if not torch.compiler.is_compiling() and not bool(((rates > 0) & (rates <= 1)).all()):
        raise ValueError(f"decay is {rates.tolist()}; each head's must be in (0, 1].")
    return rates


def joined_state(q: Tensor, v: Tensor, state: tuple[Tensor, Tensor] | None) -> Tensor:
    """[S, z] (batch, heads, D, M + 1) in the dtype of accumulation; zeros for None."""
    batch, heads, d, m = q.shape[0], q.shape[1], q.shape[-1], v.shape[-1]
    dtype = accumulation_dtype(v)
    if state is None:
        return v.new_zeros(batch, heads, d, m + 1, dtype=dtype)
    s, z = state
    if s.shape != (batch, heads, d, m) or z.shape != (batch, heads, d):
        raise ShapeError(
            f"The state is S {tuple(s.shape)} and z {tuple(z.shape)}; these inputs need "
            f"{(batch, heads, d, m)} and {(batch, heads, d)}."
        )
    return torch.cat([s, z[..., None]], dim=-1).to(device=v.device, dtype=dtype)
