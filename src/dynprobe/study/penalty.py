"""The L2 penalty that decides how many dimensions a trained network uses."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """Return the sum of squares of all entries of `parameters`, a scalar with a gradient.

    It is written into the loss, not left to an optimizer's weight decay, because the reference
    recipe clips the gradient of the whole, and Adam scales it.
    """
    return l2_penalties(parameter.reshape(1, -1) for parameter in parameters)[0]


def l2_penalties(rows: Iterable[Tensor]) -> Tensor:
    """The same for several models, ``(models,)``; each of `rows` is ``(models, entries)``."""
    return torch.stack([row.square().sum(1) for row in rows]).sum(0)
