"""Recorded sequences, run once more through the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.dynamics.ablation import Rolls
from dynprobe.recording import Recording

#: Sequences that are run at once.
BATCH = 64


@dataclass(frozen=True)
class Replay:
    """Sequences to run.

    Attributes
    ----------
    start : Tensor
        (n, state_dim), the state before the first input: in the dtype of the recorded states, at
        least float32.
    inputs : Tensor
        (n, time, input_dim), of which the first `lengths` are valid.
    lengths : Tensor
        (n,).
    recorded : Tensor
        (n, state_dim), the final states as recorded.
    labels : Tensor or None
        Of these sequences.
    dtype : torch.dtype
        That the states were recorded in.
    """

    start: Tensor
    inputs: Tensor
    lengths: Tensor
    recorded: Tensor
    labels: Tensor | None
    dtype: torch.dtype

    @classmethod
    def of(cls, rec: Recording, n: int, seed: int) -> Replay | None:
        """At most n sequences drawn at random; None where none has an input after a known state."""
        if rec.inputs is None:
            return None
        # without the initial state, from the first recorded one on
        skip = 1 if rec.initial is None else 0
        able = (rec.lengths > skip).nonzero().flatten()
        if len(able) == 0:
            return None
        generator = torch.Generator().manual_seed(seed)
        rows = able[torch.randperm(len(able), generator=generator)[:n]].sort().values
        states = rec.states
        dtype = torch.promote_types(states.dtype, torch.float32)
        at = rows.to(states.device)
        start = states[at, 0] if rec.initial is None else rec.initial[at]
        return cls(
            start.to(dtype),
            rec.inputs[at, skip:].to(dtype),
            (rec.lengths[rows] - skip).to(states.device),
            rec.final[at].to(dtype),
            None if rec.labels is None else rec.labels.cpu()[rows.cpu()],
            states.dtype,
        )

    def shuffled(self, seed: int) -> Tensor:
        """`inputs` with the valid ones of each sequence in random order."""
        generator = torch.Generator().manual_seed(seed)
        out = self.inputs.clone()
        for row, length in enumerate(self.lengths.tolist()):
            order = torch.randperm(length, generator=generator).to(out.device)
            out[row, :length] = self.inputs[row, order]
        return out

    def final(
        self,
        system: Rolls,
        edit: Callable[[Tensor, int], Tensor] | None = None,
        inputs: Tensor | None = None,
    ) -> Tensor:
        """(n, state_dim), the last valid states of a run.

        Parameters
        ----------
        system : Recurrence
            The map.
        edit : callable, optional
            As in :meth:`Recurrence.rollout`.
        inputs : Tensor, optional
            Others than the recorded ones.
        """
        given = self.inputs if inputs is None else inputs
        out = []
        for rows in torch.arange(len(self.start), device=self.start.device).split(BATCH):
            last = self.lengths[rows] - 1
            states = system.rollout(self.start[rows], given[rows, : int(last.max()) + 1], edit)
            out.append(states[torch.arange(len(rows), device=states.device), last])
        return torch.cat(out)
