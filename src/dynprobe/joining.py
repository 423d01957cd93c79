"""Batches of sequences put together: padded to one length, or one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dynprobe.errors import ShapeError
from dynprobe.recording import Recording


def join(parts: Sequence[Recording]) -> Recording:
    """One recording of the sequences of several, of the same recurrence, in order.

    What one of them lacks, or has in another shape, the whole lacks. A single one is returned as
    it is.

    Raises
    ------
    ShapeError
        If there are none, or they are of different layouts or kept different things.
    """
    if not parts:
        raise ShapeError("There is no recording to join.")
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for part in parts[1:]:
        if part.layout != first.layout or not _alike(part, first):
            raise ShapeError(
                f"Recordings of different things cannot be one: {first.layout}, kept "
                f"{first.meta.store}, and {part.layout}, kept {part.meta.store}. Take them apart "
                "with rec.batches()."
            )
    time = max(part.shape[1] for part in parts)
    logits = [part.logits for part in parts]
    per_step = all(x is not None and x.dim() == 3 for x in logits)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.meta.notes))
    whole = Recording(
        None if first.form is not None else along_time([part.kept for part in parts], time),
        replace(first.meta, notes=notes),
        lengths=torch.cat([part.lengths for part in parts]),
        inputs=along_time([part.inputs for part in parts], time),
        initial=along_batch([part.initial for part in parts]),
        tokens=along_time([part.tokens for part in parts], time),
        labels=along_batch([part.labels for part in parts]),
        logits=along_time(logits, time) if per_step else along_batch(logits),
        steps=along_time([part.steps for part in parts], time),
        form=first.form,
        scale=common_scale([(part.scale, len(part)) for part in parts]),
        readout=first.readout,
    )
    whole.budget = first.budget
    return whole


def _alike(a: Recording, b: Recording) -> bool:
    # the dtype and device of a store are where it was kept, not what
    x, y = a.meta.store, b.meta.store
    return (x.what, x.every, x.project is None) == (y.what, y.every, y.project is None) and (
        a.form == b.form
    )


def common_scale(scales: Sequence[tuple[Tensor | None, int]]) -> Tensor | None:
    """One scale of a decay for all, or one a sequence where it changed between batches.

    Parameters
    ----------
    scales : sequence of (Tensor or None, int)
        Of each batch: one scale for all its sequences, or one for each, and how many there are.
    """
    given = [(s, n) for s, n in scales if s is not None]
    if not given:
        return None
    if all(torch.equal(s, given[0][0]) for s, _ in given) and given[0][0].dim() < _PER_SEQUENCE:
        return given[0][0]
    return torch.cat([s if s.dim() == _PER_SEQUENCE else s.expand(n, *s.shape) for s, n in given])


#: Dimensions of a scale that is given for each sequence.
_PER_SEQUENCE = 4


def cat(parts: list[Tensor], dim: int) -> Tensor:
    """Concatenate; a single part is not copied, unless it is bound to inference mode."""
    if len(parts) == 1 and not parts[0].is_inference():
        return parts[0]
    return torch.cat(parts, dim=dim)


def along_time(values: list[Tensor | None], time: int) -> Tensor | None:
    """Concatenate along sequences, time padded with zeros; None if a part is unknown."""
    given = [v for v in values if v is not None]
    if len(given) < len(values) or len({v.shape[2:] for v in given}) > 1:
        return None
    return cat([_pad(v, time) for v in given], dim=0)


def along_batch(values: list[Tensor | None]) -> Tensor | None:
    """Concatenate along sequences; None if a part is unknown or the shapes differ."""
    given = [v for v in values if v is not None]
    if len(given) < len(values) or len({v.shape[1:] for v in given}) > 1:
        return None
    return torch.cat(given)


def _pad(x: Tensor, time: int) -> Tensor:
    if x.shape[1] == time:
        return x
    out = x.new_zeros(x.shape[0], time, *x.shape[2:])
    out[:, : x.shape[1]] = x
    return out
