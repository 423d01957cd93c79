"""Randomness that is always asked for by name: a seed or a generator, never the global state."""

from __future__ import annotations

import torch


def explicit_generator(seed: int | None, generator: torch.Generator | None) -> torch.Generator:
    """Return `generator`, or a fresh one seeded with `seed`.

    Raises
    ------
    ValueError
        If both or neither are given.
    """
    if generator is not None:
        if seed is not None:
            raise ValueError(
                "Both seed and generator were given. Pass one: seed=0 for the same sample every "
                "time, generator= to go on drawing from one stream."
            )
        return generator
    if seed is None:
        raise ValueError(
            "Sampling needs explicit randomness. Pass seed=0 for the same sample every time, or "
            "generator=torch.Generator().manual_seed(0) to go on drawing from one stream."
        )
    return torch.Generator().manual_seed(seed)
