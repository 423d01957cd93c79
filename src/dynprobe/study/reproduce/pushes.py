"""Mean push of each word, in the directions the states use and in the full space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.by_token import ByToken
from dynprobe.recording import Recording


@dataclass(frozen=True)
class Pushes:
    """Mean of s_t - s_(t-1) over the steps with each word.

    Attributes
    ----------
    words : list of str
        Names.
    inside : Tensor
        (words, dims), on the first principal components of the visited states.
    length : Tensor
        (words,), of the mean push in the full space, where all words share a transient.
    """

    words: list[str]
    inside: Tensor
    length: Tensor

    @property
    def angles(self) -> Tensor:
        """(words, words), degrees between the pushes inside."""
        unit = self.inside / self.inside.norm(dim=1, keepdim=True)
        return torch.rad2deg((unit @ unit.T).clamp(-1, 1).arccos())


def mean_pushes(rec: Recording, components: Tensor) -> Pushes:
    """Measure every word of the vocabulary that occurs.

    Parameters
    ----------
    rec : Recording
        With tokens and their names.
    components : Tensor
        (dims, state_dim), the directions.
    """
    assert rec.meta.vocabulary is not None
    words = ByToken.of(rec)
    means = words.mean(rec.states - rec.before)
    return Pushes(
        [rec.meta.vocabulary[i] for i in words.ids.tolist()],
        means @ components.to(means).T,
        means.norm(dim=1),
    )
