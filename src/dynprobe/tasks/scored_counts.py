"""Counts of words that add up to a chosen score, all of them equally likely."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class ScoredCounts:
    """How many count vectors have a given length and score, and draws among them.

    The score of counts ``n`` is ``sum_w n_w v_w`` for integer word values ``v``. With
    ``W_w[l, s]`` the number of ways to reach length l and score s with words w, w + 1, ... alone,
    ``W_w[l, s] = W_{w+1}[l, s] + W_w[l - 1, s - v_w]``: without word w, or with one more of it.
    So ``W_w[l - n, s - n v_w]`` ways have at least n of word w. The tables are made once; a draw
    fixes one word's count after the other by these numbers, so that nothing is rejected.

    Parameters
    ----------
    values
        The word values, at least two.
    length
        The largest length, at least 1. There are ``words`` tables of ``(length + 1)`` times the
        number of scores in the range, float64; counts above 2^53 are rounded in the last place.

    Attributes
    ----------
    scores
        The attainable scores by length, ascending, int64, ``(length + 1, most)``, filled with 0.
    n_scores
        How many they are, int64, ``(length + 1,)``.
    """

    def __init__(self, values: Sequence[int], length: int) -> None:
        low, high = min(0, *values), max(0, *values)
        self._zero = -length * low
        # A row for each length from -1 on, `-low` columns more than scores. A draw steps through
        # the flat table without looking where it is: a row of length l holds ways only within l
        # words of the zero score, so what runs over either end of a row reads a zero of the next.
        self._width = width = length * (high - low) + 1 - low
        ways = torch.zeros(length + 2, width, dtype=torch.float64)
        ways[1, self._zero] = 1
        tables: list[Tensor] = []
        for value in reversed(values):
            ways = ways.clone()
            here = slice(max(0, value), width + min(0, value))
            before = slice(max(0, -value), width - max(0, value))
            for words in range(2, length + 2):
                ways[words, here] += ways[words - 1, before]
            tables.append(ways.flatten())
        self._ways = tables[:0:-1]
        # One more of a word leads one row up, and by its value to another score.
        strides = torch.tensor([width + value for value in values])
        self._strides = strides.tolist()
        self._steps = strides[:, None] * torch.arange(length + 1)
        attainable = [row.nonzero().squeeze(1) - self._zero for row in ways[1:]]
        self.scores = pad_sequence(attainable, batch_first=True)
        self.n_scores = torch.tensor([len(row) for row in attainable])

    def draw(self, lengths: Tensor, scores: Tensor, generator: torch.Generator) -> Tensor:
        """Draw counts uniformly among those with the given length and score.

        Parameters
        ----------
        lengths, scores
            Int64, ``(sequences,)``, each pair attainable.
        generator
            Source of randomness.

        Returns
        -------
        Tensor
            Int64, ``(sequences, words)``.
        """
        marks = torch.rand(len(lengths), len(self._ways), dtype=torch.float64, generator=generator)
        place = (lengths + 1) * self._width + scores + self._zero
        counts: list[Tensor] = []
        for word, ways in enumerate(self._ways):
            # Ways with at least 0, 1, ... of the word: the last count to have more than the mark.
            reach = ways.take((place[:, None] - self._steps[word]).clamp_(min=0))
            count = (reach > marks[:, word, None] * reach[:, :1]).sum(dim=1) - 1
            counts.append(count)
            place = place - count * self._strides[word]
        return torch.stack([*counts, lengths - sum(counts)], dim=1)
