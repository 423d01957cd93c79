"""Results as flat lists of numbers and texts, to be compared with each other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor


def leaves(value: Any, at: str = "") -> dict[str, Any]:
    """What a result is made of, by where it is: ``{".visited.mean": tensor, ...}``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = [(f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value)]
    elif isinstance(value, dict):
        pairs = [(f"[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        pairs = [(f"[{i}]", item) for i, item in enumerate(value)]
    else:
        return {at: torch.as_tensor(value) if isinstance(value, np.ndarray) else value}
    return {k: v for where, item in pairs for k, v in leaves(item, at + where).items()}


def difference(a: Any, b: Any, *, tolerance: float = 0.0, common: bool = False) -> str:
    """Where two results differ, and by what; empty where they are the same.

    Parameters
    ----------
    a, b : object
        Results of one analyzer.
    tolerance : float
        How far numbers may be apart, in units of the largest number of their tensor.
    common : bool
        Compare tensors of different shape in what both have, from the start of every axis.
    """
    left, right = leaves(a), leaves(b)
    if left.keys() != right.keys():
        (first, *_) = left.keys() ^ right.keys()
        return f"{first} is in one of them only"
    for where, x in left.items():
        y = right[where]
        if isinstance(x, (Tensor, float)) and isinstance(y, (Tensor, float, int)):
            found = _numbers(torch.as_tensor(x), torch.as_tensor(y), tolerance, common)
        else:
            found = "" if x is y or x == y else f"{x!r:.60} and {y!r:.60}"
        if found:
            return f"{where} differs: {found}"
    return ""


def _numbers(x: Tensor, y: Tensor, tolerance: float, common: bool) -> str:
    if common and x.dim() == y.dim():
        both = tuple(slice(min(m, n)) for m, n in zip(x.shape, y.shape, strict=True))
        x, y = x[both], y[both]
    if x.shape != y.shape:
        return f"shapes {tuple(x.shape)} and {tuple(y.shape)}"
    wide = torch.complex128 if x.is_complex() or y.is_complex() else torch.float64
    x, y = x.to("cpu", wide), y.to("cpu", wide)
    same = (x == y) | (x.isnan() & y.isnan())
    finite = x[x.isfinite()].abs()
    scale = float(finite.max()) if finite.numel() else 1.0
    apart = (x - y).abs()
    wrong = ~same & ~(apart <= tolerance * scale)
    if not bool(wrong.any()):
        return ""
    at = int(wrong.flatten().nonzero()[0])
    return f"{x.flatten()[at].item():.6g} and {y.flatten()[at].item():.6g}"
