"""Positions as numbers a model can use. All are computed in float32, for any position."""

from __future__ import annotations

import torch
from torch import Tensor


def angles(positions: Tensor, pairs: int, base: float) -> Tensor:
    """(batch, time) -> (batch, time, pairs), position * base^(-i / pairs)."""
    i = torch.arange(pairs, dtype=torch.float32, device=positions.device)
    return positions[..., None].float() * base ** (-i / pairs)


def sinusoidal(positions: Tensor, width: int) -> Tensor:
    """Sines and cosines, (batch, time, width) (Vaswani et al. 2017, section 3.5)."""
    angle = angles(positions, (width + 1) // 2, 10_000.0)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[..., :width]


def rotate(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Turn pairs of features by an angle that grows with position (arXiv 2104.09864, eq. 34).

    x (batch, heads, time, width), positions (batch or 1, time). Products of two rotated vectors
    depend on the distance of their positions alone.
    """
    angle = angles(positions, x.shape[-1] // 2, base)[:, None]
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
