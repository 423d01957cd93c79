"""Sequences that look padded where nothing told their lengths."""

from __future__ import annotations

import torch
from torch import Tensor


def padded_by_tokens(tokens: Tensor, padding: int) -> int:
    """How many of ``(batch, time)`` token sequences begin or end with the padding token."""
    if tokens.numel() == 0:
        return 0
    return int(((tokens[:, -1] == padding) | (tokens[:, 0] == padding)).sum())


def padded_by_zeros(inputs: Tensor) -> int:
    """How many of ``(batch, time, input_dim)`` input sequences end in steps of zeros.

    0 where steps of zeros occur elsewhere, too: then zero is an input like any other, as in tasks
    whose inputs are pulses.
    """
    if inputs.numel() == 0 or inputs.is_floating_point() is False:
        return 0
    zero = (inputs == 0).all(-1)
    # a step belongs to the end if it and all after it are zero
    end = zero.flip(1).int().cumprod(1).flip(1).bool()
    if not torch.equal(zero, end):
        return 0
    return int(end[:, -1].sum())
