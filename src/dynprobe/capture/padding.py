"""Sequences that look padded where nothing told their lengths.

This is a guess that may only err by saying nothing: a batch of one sequence, padding in all,
and what could be a single last step do not count.
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

    0 where steps of zeros also occur between others: then zero is an input like any other, as in
    tasks whose inputs are pulses.
    """
    return _filled_up((inputs == 0).all(-1))


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
