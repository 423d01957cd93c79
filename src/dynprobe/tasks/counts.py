"""Sequences with a chosen distribution of word counts instead of independent words.

Independent words concentrate near equal counts, so that a network sees little strong evidence
and its states fill more dimensions than the task has. Drawing the *counts* uniformly is what
Aitken et al. 2020 (arXiv 2010.15114) do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def uniform_counts(lengths: Tensor, n_words: int, generator: torch.Generator) -> Tensor:
    """Draw counts of `n_words` words uniformly among all that sum to each sequence's length.

    Stars and bars: ``n_words - 1`` bars are laid at random on ``length + n_words - 1`` places,
    and the stars between two bars are one word's count. Every one of the
    ``C(length + n_words - 1, n_words - 1)`` count vectors is equally likely.

    Parameters
    ----------
    lengths
        Int64, ``(sequences,)``.
    n_words
        Number of words, the neutral one included; at least 2.
    generator
        Source of randomness.

    Returns
    -------
    Tensor
        Int64, ``(sequences, n_words)``; each row sums to its length.
    """
    n_bars = n_words - 1
    places = lengths[:, None] + n_bars
    width = int(lengths.max()) + n_bars
    # Float64: among float32 numbers equal ones are common enough to favour low places.
    keys = torch.rand(len(lengths), width, dtype=torch.float64, generator=generator)
    keys.masked_fill_(torch.arange(width) >= places, 2.0)
    bars = keys.topk(n_bars, dim=1, largest=False).indices.sort(dim=1).values
    walls = torch.cat([torch.full_like(places, -1), bars, places], dim=1)
    return walls.diff(dim=1) - 1


def counts_without(
    lengths: Tensor,
    n_words: int,
    refused: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator,
) -> Tensor:
    """Draw counts uniformly among those that are not refused: refused ones are drawn anew.

    Parameters
    ----------
    lengths, n_words, generator
        As in :func:`uniform_counts`.
    refused
        Takes counts ``(sequences, n_words)`` and which of the sequences these are, int64,
        ``(sequences,)``; says of each whether it is refused, bool, ``(sequences,)``. Of every
        sequence some counts must not be.

    Returns
    -------
    Tensor
        Int64, ``(sequences, n_words)``.
    """
    counts = uniform_counts(lengths, n_words, generator)
    again = torch.arange(len(lengths))
    while len(again := again[refused(counts[again], again)]):
        # Same length again: dropping the sequence would favour lengths that are refused less.
        counts[again] = uniform_counts(lengths[again], n_words, generator)
    return counts


def random_order(lengths: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Draw an order of each sequence's steps in which its padding stays at the end.

    Parameters
    ----------
    lengths
        Int64, ``(sequences,)``.
    width
        Number of steps with padding, at least the largest length.
    generator
        Source of randomness.

    Returns
    -------
    Tensor
        Which step comes at each place, int64, ``(sequences, width)``. Every order of the first
        ``lengths`` steps is equally likely.
    """
    keys = torch.rand(len(lengths), width, dtype=torch.float64, generator=generator)
    keys.masked_fill_(torch.arange(width) >= lengths[:, None], 2.0)
    return keys.argsort(dim=1)


def shuffled_words(counts: Tensor, generator: torch.Generator) -> Tensor:
    """Lay out each row's words in random order.

    Parameters
    ----------
    counts
        Int64, ``(sequences, n_words)``.
    generator
        Source of randomness.

    Returns
    -------
    Tensor
        Word indices, int64, ``(sequences, time)`` with time the largest sum of counts; steps
        after the end of a shorter sequence hold ``n_words``.
    """
    ends = counts.cumsum(dim=1)
    width = int(ends[:, -1].max())
    steps = torch.arange(width).expand(len(counts), width).contiguous()
    ordered = torch.searchsorted(ends, steps, right=True)
    return ordered.gather(1, random_order(ends[:, -1], width, generator))
