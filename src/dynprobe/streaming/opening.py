"""The first sequences of a run: what its figures show."""

from __future__ import annotations

from dataclasses import replace

import torch

from dynprobe.joining import join
from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.report.view import MAX_POINTS, View, view_of


def with_more(opening: Recording | None, chunk: Recording) -> Recording | None:
    """The opening with the sequences of a chunk that still fit; at least one sequence is kept."""
    room = MAX_POINTS - (0 if opening is None else int(opening.lengths.sum()))
    fits = int((chunk.lengths.cumsum(0) <= room).sum())
    if opening is None:
        fits = max(fits, 1)
    if fits == 0 or len(chunk) == 0:
        return opening
    # by index, not by slice: a slice would keep the whole batch in memory
    some = chunk[torch.arange(min(fits, len(chunk)))]
    return some if opening is None else join([opening, some])


def view_of_run(
    opening: Recording, readout: Readout | str, *, sequences: int, states: int, seed: int
) -> View:
    """What the figures show of a run of which only the opening was kept."""
    view = view_of(opening, readout, seed=seed)
    if len(opening) == sequences:
        return view
    note = f"figures show the first {len(opening):,} of {sequences:,} sequences; no others are kept"
    return replace(view, states_seen=states, accuracy=None, notes=(*view.notes, note))
