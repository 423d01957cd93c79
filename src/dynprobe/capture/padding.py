"""Sequences that look padded where nothing told their lengths.

A guess that rather says nothing: a batch of one sequence, padding in all, and what could be a
single last step do not count.
"""

from __future__ import annotations

from torch import Tensor


def padded_by_tokens(tokens: Tensor, padding: int) -> int:
    """How many of ``(batch, time)`` token sequences are filled up with the padding token.

    0 where it also occurs between other tokens: then it is one like any other.
    """
    return _filled_up(tokens == padding)


def padded_by_zeros(inputs: Tensor) -> int:
    """How many of ``(batch, time, input_dim)`` input sequences are filled up with steps of zeros.

    0 where steps of zeros also occur between others, or before them, or throughout a sequence, and
    where an input is a single number: then zero is an input like any other, as in tasks of pulses.
    """
    zero = (inputs == 0).all(-1)
    if inputs.shape[-1] == 1 or zero.numel() == 0 or bool((zero[:, 0] | zero.all(1)).any()):
        return 0
    return _filled_up(zero)


def _filled_up(filling: Tensor) -> int:
    """Sequences of (batch, time) with a run of the filling at one end, the same end in all."""
    if filling.numel() == 0:
        return 0
    end = filling.flip(1).int().cumprod(1).sum(1)
    begin = filling.int().cumprod(1).sum(1)
    for run in (end, begin):
        some = int((run > 0).sum())
        if int(filling.sum()) == int(run.sum()) and int(run.max()) > 1 and some < len(filling):
            return some
    return 0
