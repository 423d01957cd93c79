"""Arrays of callers made into tensors of a recording, checked against its sequences and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynprobe.errors import ShapeError

_UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)


def own_tensor(value: Any) -> Tensor:
    """A tensor of anything array-like; a copy in every case, which the caller cannot change.

    Raises
    ------
    ShapeError
        If the values do not make one array.
    """
    try:
        x = (
            value.detach().clone()
            if isinstance(value, Tensor)
            else torch.from_numpy(np.array(value))
        )
    except (ValueError, TypeError) as error:
        raise ShapeError(
            f"These values do not make one array: {error}. Pad sequences of different length to "
            "one length and say how long each is with lengths="
        ) from error
    # token ids are often of these dtypes: torch does not compute with some, and uint8 it takes for
    # a mask where it is an index
    return x.to(torch.int64) if x.dtype in _UNSIGNED else x


def own_floating(value: Any) -> Tensor:
    """The same, of floating point."""
    x = own_tensor(value)
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def checked_lengths(lengths: Tensor | None, sequences: int, time: int) -> Tensor:
    """(sequences,) int64 on the CPU, between 0 and `time`; None stands for all of it.

    Raises
    ------
    ShapeError
        If they do not fit.
    """
    if lengths is None:
        return torch.full((sequences,), time, dtype=torch.int64)
    out = lengths.to("cpu", torch.int64)
    if out.shape != (sequences,):
        raise ShapeError(
            f"lengths have shape {tuple(out.shape)}; one number per sequence is needed, "
            f"({sequences},)."
        )
    if sequences and (int(out.min()) < 0 or int(out.max()) > time):
        raise ShapeError(
            f"lengths lie between {int(out.min())} and {int(out.max())}, but the recording has "
            f"{time} steps."
        )
    return out


def fit_time(tokens: Tensor, sequences: int, time: int) -> Tensor:
    """(sequences, time) tokens, padded at the end where they are shorter.

    Raises
    ------
    ShapeError
        If they are longer.
    """
    if tokens.dim() != 2 or tokens.shape[1] > time:
        raise ShapeError(
            f"tokens have shape {tuple(tokens.shape)}; (sequences, time) is needed with at most "
            f"({sequences}, {time})."
        )
    return torch.nn.functional.pad(tokens, (0, time - tokens.shape[1]))


def last_valid(x: Tensor, lengths: Tensor) -> Tensor:
    """(sequences, time, ...) -> (sequences, ...), the last valid row of each."""
    index = (lengths.to(x.device) - 1).clamp(min=0)
    return x[torch.arange(x.shape[0], device=x.device), index]
