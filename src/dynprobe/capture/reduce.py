"""Keep less than every state, while the forward pass runs."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dynprobe.recurrences.observer import Segment
from dynprobe.store import FINAL, Store


def reduce(segment: Segment, store: Store, last: Tensor) -> Segment:
    """What `store` keeps of the states of one call.

    Parameters
    ----------
    last : Tensor
        (batch,), the last valid step of each sequence in this call; -1 where there is none.

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
            kept = torch.arange(store.every - 1, time, store.every).expand(batch, -1)
        states, initial = _pick(segment, kept, store.every), segment.initial
        rows = torch.arange(batch, device=x.device)[:, None]
        inputs = None if segment.inputs is None else segment.inputs[rows, kept.to(x.device)]
    if store.dtype is not None:
        states, initial = states.to(store.dtype), initial.to(store.dtype)
    if store.device is not None:
        states, initial = states.to(store.device), initial.to(store.device)
        inputs = None if inputs is None else inputs.to(store.device)
    own = None if inputs is None else inputs.detach().clone()
    return replace(
        segment,
        states=states.detach().clone(),
        inputs=own,
        initial=initial.detach().clone(),
        form=None,
        scale=None,
        kept=kept,
    )


def _project(segment: Segment, directions: Tensor) -> Tensor:
    if segment.states is not None:
        return segment.states @ directions.T
    assert segment.form is not None
    assert segment.inputs is not None
    assert segment.scale is not None
    factors = segment.form.factors(segment.inputs, segment.initial, segment.scale)
    return factors.project_flat(directions)


def _pick(segment: Segment, kept: Tensor, every: int) -> Tensor:
    if segment.states is not None:
        rows = torch.arange(kept.shape[0], device=segment.states.device)[:, None]
        return segment.states[rows, kept.to(segment.states.device)]
    assert segment.form is not None
    assert segment.inputs is not None
    assert segment.scale is not None
    factors = segment.form.factors(segment.inputs, segment.initial, segment.scale)
    return factors.states(every) if every > 1 else factors.at(kept)
