"""How far each word pushes the state: along the phrases, and from states wherever they came from.

The two differ. Where counts are uniform a word occurs mostly in phrases that are full of it, in
states that have gone its way already and that it hardly moves any further.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.by_token import ByToken
from dynprobe.recording import Recording
from dynprobe.recurrences.base import Recurrence
from dynprobe.study.reproduce.thinned import thinned

#: The reference pushes states that are farther than this from each other.
APART = 0.5


@dataclass(frozen=True)
class Pushes:
    """Mean push of each word.

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


def mean_steps(rec: Recording, components: Tensor) -> Pushes:
    """Mean of s_t - s_(t-1) over the steps of the phrases with each word.

    Parameters
    ----------
    rec : Recording
        With tokens and their names.
    components : Tensor
        (dims, state_dim), the directions.
    """
    words = ByToken.of(rec)
    return _of(rec, words, words.mean(rec.states - rec.before), components)


@torch.no_grad()
def deflections(
    recurrence: Recurrence,
    rec: Recording,
    visited: Tensor,
    components: Tensor,
    *,
    apart: float = APART,
) -> Pushes:
    """Mean of F(s, x_word) - s over states s, the same for every word: the paper's deflections.

    As its authors do (``syn_data_plots.ipynb``), s are visited states of which none is within
    0.5 of an earlier one.

    Parameters
    ----------
    recurrence : Recurrence
        F.
    rec : Recording
        With tokens, their names and the inputs of the recurrence.
    visited : Tensor
        (points, state_dim).
    components : Tensor
        (dims, state_dim), the directions.
    apart : float
        How near to an earlier one a state is left out; all are kept where it is negative.
    """
    assert rec.inputs is not None
    words, at = ByToken.of(rec), thinned(visited, apart)
    means = [
        (recurrence.step(at, x.expand(len(at), -1)) - at).mean(0) for x in words.mean(rec.inputs)
    ]
    return _of(rec, words, torch.stack(means), components)


def _of(rec: Recording, words: ByToken, means: Tensor, components: Tensor) -> Pushes:
    assert rec.meta.vocabulary is not None
    return Pushes(
        [rec.meta.vocabulary[i] for i in words.ids.tolist()],
        means @ components.to(means).T,
        means.norm(dim=1),
    )
