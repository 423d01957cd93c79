"""Which steps of a call belong to its sequences: packing, masks and lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dynprobe.errors import SequenceError

if TYPE_CHECKING:
    from dynprobe.capture.layer import TracedCall


def valid_steps(
    group: list[TracedCall], batch: int, time: int, notes: list[str], *, alone: bool
) -> tuple[Tensor, Tensor]:
    """First valid step and number of valid steps of each sequence."""
    zero = torch.zeros(batch, dtype=torch.int64)
    forward = group[0].forward
    if len(group) == 1 and group[0].call.lengths is not None:
        notes.append("lengths: packed sequence")
        return zero, group[0].call.lengths.cpu()
    if not alone:
        return zero, zero + time
    mask, lengths = forward.attention_mask, forward.lengths
    if mask is None and lengths is None:
        notes.append("lengths: every step counts (no lengths, mask or packing seen)")
        return zero, zero + time
    fed_by = group[0].fed_by
    other_input = (
        fed_by is not None
        and forward.input_ids is not None
        and not _same_ids(fed_by.embedding.ids, forward.input_ids)
    )
    if mask is not None and not other_input and mask.dim() == 2 and mask.shape[0] == batch:
        fitting = _fit_mask(mask.cpu() != 0, time, continues=group[0].continues)
        if fitting is not None:
            notes.append("lengths: attention mask")
            return _runs(fitting)
    fits = lengths is not None and lengths.shape == (batch,) and not other_input
    if fits and lengths is not None and bool(((lengths >= 0) & (lengths <= time)).all()):
        notes.append("lengths: the model's lengths argument")
        return zero, lengths.cpu().to(torch.int64)
    notes.append(
        "lengths: every step counts; the mask or lengths given to the model do not fit what this "
        "layer ran over (add lengths with annotate())"
    )
    return zero, zero + time


def _same_ids(a: Tensor, b: Tensor) -> bool:
    """Whether ids are the model's own, perhaps cut at the end or time first."""
    views = (b, b.T) if b.dim() == 2 else (b,)
    return any(
        a.dim() == v.dim() and torch.equal(a, v[tuple(slice(0, n) for n in a.shape)]) for v in views
    )


def _fit_mask(mask: Tensor, time: int, *, continues: bool) -> Tensor | None:
    """The columns of a mask that describe `time` steps; None if that cannot be told."""
    if mask.shape[1] == time:
        return mask
    if mask.shape[1] < time:
        return None
    if continues:  # the mask of a growing sequence covers the steps before, too
        return mask[:, -time:]
    if not bool(mask[:, time:].any()):  # padding on the right was cut off
        return mask[:, :time]
    if not bool(mask[:, :-time].any()):  # or on the left
        return mask[:, -time:]
    return None


def _runs(mask: Tensor) -> tuple[Tensor, Tensor]:
    count = mask.sum(1)
    first = mask.int().argmax(1)
    steps = torch.arange(mask.shape[1])
    run = (steps >= first[:, None]) & (steps < (first + count)[:, None])
    if not torch.equal(run, mask):
        bad = int((run != mask).any(1).nonzero()[0])
        raise SequenceError(
            f"The attention mask of sequence {bad} has a hole: valid steps must be one run, padded "
            "on the left or on the right."
        )
    return first, count
