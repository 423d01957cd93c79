"""Keep less than every state, while the forward pass runs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dynprobe.recurrences.observer import Segment
from dynprobe.store import FINAL, Store


def reduce(
    segment: Segment, store: Store, last: Tensor, *, offset: int = 0, detach: bool = True
) -> Segment:
    """What `store` keeps of the states of one call.

    Parameters
    ----------
    last : Tensor
        (batch,), the last valid step of each sequence in this call; -1 where there is none.
    offset : int
        Steps that the same sequences made in earlier calls.
    detach : bool
        Whether to leave the graph of the forward pass.

    Returns
    -------
    Segment
        With the steps that its rows of states belong to.
    """
    x = segment.states if segment.states is not None else segment.inputs
    assert x is not None
    batch, time = x.shape[:2]
    if store.project is not None:
        directions = store.directions(segment.initial.shape[-1]).to(segment.initial)
        kept = torch.arange(time).expand(batch, time)
        states = _project(segment, directions)
        initial = segment.initial @ directions.T
        inputs = None
    else:
        if store.what == FINAL:
            kept = last.clamp(min=0).unsqueeze(1)
        else:
            steps = range(-(offset + 1) % store.every, time, store.every)
            kept = torch.tensor(list(steps), dtype=torch.int64).expand(batch, -1)
        states, initial = _pick(segment, kept), segment.initial
        rows = torch.arange(batch, device=x.device)[:, None]
        inputs = None if segment.inputs is None else segment.inputs[rows, kept.to(x.device)]
    if store.dtype is not None:
        states, initial = states.to(store.dtype), initial.to(store.dtype)
    if store.device is not None:
        states, initial = states.to(store.device), initial.to(store.device)
        inputs = None if inputs is None else inputs.to(store.device)

    def own(x: Tensor) -> Tensor:
        return (x.detach() if detach else x).clone()

    return replace(
        segment,
        states=own(states),
        inputs=None if inputs is None else own(inputs),
        initial=own(initial),
        form=None,
        scale=None,
        kept=kept,
    )


def _project(segment: Segment, directions: Tensor) -> Tensor:
    if segment.states is not None:
        return segment.states @ directions.T
    return segment.factors.project_flat(directions)


def _pick(segment: Segment, kept: Tensor) -> Tensor:
    if segment.states is None:
        return segment.factors.at(kept)
    rows = torch.arange(kept.shape[0], device=segment.states.device)[:, None]
    return segment.states[rows, kept.to(segment.states.device)]
