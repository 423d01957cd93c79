"""Where a map is looked at, and how far two tensors may be apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.recording import Recording
from dynprobe.recurrences.base import Recurrence

#: Points that are checked, and the widest state of which whole matrices are made.
POINTS, WIDE = 6, 200


@dataclass(frozen=True)
class Points:
    """A map, and where it is looked at, in float64."""

    map: Recurrence
    states: Tensor
    inputs: Tensor


def points_of(recurrence: Recurrence, recording: Recording | None, seed: int) -> Points:
    """States and inputs of a recording, or random ones."""
    generator = torch.Generator().manual_seed(seed)
    if recording is not None and recording.inputs is not None:
        # not where a number stands for "nothing seen yet", as -1e38 does in a running maximum
        known = recording.mask & (recording.before.abs().amax(-1) < 1e9)
        states, inputs = recording.before[known].double(), recording.inputs[known].double()
        chosen = torch.randperm(len(states), generator=generator)[:POINTS]
        return Points(recurrence, states[chosen].detach(), inputs[chosen].detach())
    states, inputs = (
        torch.randn(POINTS, width, generator=generator, dtype=torch.float64).to(recurrence.device)
        for width in (recurrence.state_dim, recurrence.input_dim)
    )
    return Points(recurrence, 0.5 * states, inputs)


def apart(a: Tensor, b: Tensor, tolerance: float) -> str:
    """How far two tensors are apart, where that is more than `tolerance` of the largest number."""
    a, b = a.detach(), b.detach()
    scale = 1 + float(a.abs().max()) if a.numel() else 1.0
    gap = float((a - b).abs().max()) if a.numel() else 0.0
    return "" if gap <= tolerance * scale else f"by {gap:.2g}, where numbers are up to {scale:.2g}"


def described(got: object) -> str:
    """What came back, for a message."""
    """What came back, for a message."""
    return f"shape {tuple(got.shape)}" if isinstance(got, Tensor) else f"a {type(got).__name__}"
