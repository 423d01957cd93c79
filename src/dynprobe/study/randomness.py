"""A stretch of code whose use of torch's global random state leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def isolated_global_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global random state for the block and put the old one back after it.

    `torch.nn.Dropout` takes no generator: it draws from the global state of its device. Training
    with it can be repeated, without disturbing the caller's random numbers, only in this way.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which would also reseed devices that are not restored.
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        torch.default_generator.manual_seed(seed)
        yield
