"""A sample of a run's states that knows which of them follow each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.geometry.reservoir import Reservoir, keys_of
from dynprobe.recording import Recording

#: Of the keys, and so of which states are taken: an accumulator does not know the run's seed.
SEED = 0


@dataclass(frozen=True)
class StateSample:
    """A uniform sample of the states of a stream of recordings, the same however it is cut.

    The mark of its sequence and its step stand beside each state: they tell apart states that are
    equal, as the first ones of all sequences with the same first token are.

    Attributes
    ----------
    rows : Reservoir
        Of (state_dim + 2,): state, mark, step.
    """

    rows: Reservoir

    @classmethod
    def empty(cls, size: int, dim: int) -> StateSample:
        """Nothing yet, and at most `size` states of width `dim`."""
        return cls(Reservoir.empty(size, dim + 2, SEED))

    def add_visited(self, chunk: Recording) -> StateSample:
        """With every valid state of a recording."""
        mask = chunk.mask.cpu()
        steps = torch.arange(mask.shape[1], dtype=torch.float64).expand(mask.shape)
        marks = _marks(chunk)[:, None].expand(mask.shape)
        return self._add(chunk.flat(), marks[mask], steps[mask])

    def add_final(self, chunk: Recording) -> StateSample:
        """With the last state of each sequence that has one."""
        ended = chunk.lengths.cpu() > 0
        marks = _marks(chunk)[ended]
        return self._add(chunk.final[ended.to(chunk.final.device)], marks, torch.zeros_like(marks))

    def _add(self, states: Tensor, marks: Tensor, steps: Tensor) -> StateSample:
        beside = torch.stack([marks, steps], dim=1)
        rows = torch.cat([states.detach().to("cpu", torch.float64), beside], dim=1)
        return StateSample(self.rows.add(rows))

    def merge(self, other: StateSample) -> StateSample:
        """The sample of both streams together."""
        return StateSample(self.rows.merge(other.rows))

    @property
    def states(self) -> Tensor:
        """(sampled, state_dim), float64."""
        return self.rows.points[:, :-2]

    @property
    def sequences(self) -> Tensor:
        """(sampled,), equal for states of one sequence."""
        return self.rows.points[:, -2]


def _marks(chunk: Recording) -> Tensor:
    """A number for each sequence, made of its last state; float64 holds 53 bits of it."""
    return (keys_of(chunk.final.detach().cpu(), SEED) >> 11).double()
