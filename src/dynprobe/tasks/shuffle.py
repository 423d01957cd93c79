"""Controls of every counting result: the same words in another order, or in any sequence."""

from __future__ import annotations

import torch

from dynprobe.tasks.batch import Batch
from dynprobe.tasks.counts import random_order
from dynprobe.tasks.randomness import explicit_generator


def shuffled(
    batch: Batch, *, seed: int | None = None, generator: torch.Generator | None = None
) -> Batch:
    """Return `batch` with the words of each sequence in random order.

    A network that only counts words gives the same answer (Aitken et al. 2020, arXiv 2010.15114,
    who compare predictions and final states before and after).

    Parameters
    ----------
    batch
        Sequences, on the CPU. It is not changed.
    seed, generator
        Source of randomness, exactly one of them. The global random state is left alone.

    Returns
    -------
    Batch
        The same lengths and labels; padding stays at the end.

    Raises
    ------
    ValueError
        If `seed` and `generator` are both given or both missing.

    Examples
    --------
    >>> from dynprobe.tasks import categorical
    >>> batch = categorical(3, length=5).sample(2, seed=0)
    >>> other = shuffled(batch, seed=1)
    >>> bool((other.tokens.sort().values == batch.tokens.sort().values).all())
    True
    """
    generator = explicit_generator(seed, generator)
    order = random_order(batch.lengths, batch.tokens.shape[1], generator)
    return Batch(batch.tokens.gather(1, order), batch.lengths, batch.labels)


def scattered(
    batch: Batch, *, seed: int | None = None, generator: torch.Generator | None = None
) -> Batch:
    """Return `batch` with the words of all sequences in random order among all their places.

    Words are as frequent as before and mean nothing: what a model makes of these is a null for
    its states. An undecayed sum of them is a random walk. Labels stay where they are.

    Parameters
    ----------
    batch
        Sequences, on the CPU. It is not changed.
    seed, generator
        Source of randomness, exactly one of them. The global random state is left alone.

    Returns
    -------
    Batch
        The same lengths and labels; padding stays at the end.

    Raises
    ------
    ValueError
        If `seed` and `generator` are both given or both missing.
    """
    generator = explicit_generator(seed, generator)
    valid = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
    words = batch.tokens[valid]
    tokens = batch.tokens.clone()
    tokens[valid] = words[torch.randperm(len(words), generator=generator)]
    return Batch(tokens, batch.lengths, batch.labels)
