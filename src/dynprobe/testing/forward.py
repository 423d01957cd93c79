"""Whether a map is what its module does: recorded states against steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from dynprobe.probe import attach
from dynprobe.recording import Recording
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.cells import CellObserver
from dynprobe.recurrences.registry import find_observer

SEQUENCES, STEPS = 3, 5


def recorded(
    subject: Recurrence | nn.Module,
    maps: Mapping[str, Recurrence],
    recording: Recording | None,
    seed: int,
) -> Callable[[], None] | None:
    """The test that every recorded state is the step from the one before; None without states.

    Parameters
    ----------
    subject : Recurrence or nn.Module
        A cell, or a layer of torch.nn, is run on random input where there is no recording.
    maps : mapping
        Its recurrences, by suffix.
    recording : Recording or None
        Of the only, or the last one of these.
    seed : int
        Of the input.
    """
    if recording is not None:
        last = list(maps.values())[-1]
        return lambda: _follow({recording.layer: (last, recording)})
    if isinstance(subject, nn.RNNBase) or (
        isinstance(subject, nn.Module) and isinstance(find_observer(subject), CellObserver)
    ):
        return lambda: _follow(_run(subject, next(iter(maps.values())), seed))
    return None


def _run(
    module: nn.Module, recurrence: Recurrence, seed: int
) -> dict[str, tuple[Recurrence, Recording]]:
    generator = torch.Generator().manual_seed(seed)
    width = module.input_size if isinstance(module, nn.RNNBase) else recurrence.input_dim
    x = torch.randn(SEQUENCES, STEPS, width, generator=generator)
    x = x.to(recurrence.device, recurrence.dtype)
    with torch.no_grad(), attach(module) as probe:
        if isinstance(module, nn.RNNBase):
            module(x)
        else:
            parts = recurrence.layout.split(x.new_zeros(SEQUENCES, recurrence.state_dim))
            state = tuple(parts.values()) if len(parts) > 1 else next(iter(parts.values()))
            for step in x.unbind(1):
                state = module(step, state)
    keys = [layer.key for layer in probe.layers]
    return {key: (probe.recurrence(key), probe.recording(key)) for key in keys}


def _follow(runs: Mapping[str, tuple[Recurrence, Recording]]) -> None:
    for key, (recurrence, rec) in runs.items():
        if not (rec.inputs is not None):
            raise AssertionError(f"The recording of {key!r} has no inputs to step with.")
        known = rec.mask & rec.before.isfinite().all(-1)
        with torch.no_grad():
            stepped = recurrence.step(rec.before[known].double(), rec.inputs[known].double())
        states = rec.states[known].double()
        exact = rec.states.dtype == torch.float64
        limit = (1e-9 if exact else 1e-4) * (1 + float(states.abs().max()))
        gap = float((stepped - states).abs().max())
        if not (gap <= limit):
            raise AssertionError(
                f"A step from a recorded state of {key!r} misses the state that the module came "
                "to, by "
                f"{gap:.2g}. step() must be what the module's forward does to the whole state, "
                "in the "
                "order of the layout."
            )
