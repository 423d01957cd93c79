"""The multi-label counting task: for each label, whether its own score is positive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dynprobe.tasks.balance import balanced_labels
from dynprobe.tasks.counting import CountingTask, check_lengths, letters
from dynprobe.tasks.counts import counts_without

#: Of counts drawn uniformly at least this share must have no score of 0; others are drawn anew.
LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class Multilabel(CountingTask):
    """Sequences of words for and against each of several labels; a label holds if its score does.

    Each label has a word worth +1 and one worth -1, and ``label_i = [score_i >= 0]`` (Aitken et
    al. 2020, arXiv 2010.15114). A network has to remember one number per label: the states of two
    labels fill a square, those of three a cube.

    Given the length, counts are uniform among those in which no score is exactly 0: others are
    drawn anew, so that the two sides of a label are mirror images. Balance is over the
    ``2 ** n_labels`` combinations of labels, by exchanging the counts of a label's two words.

    The vocabulary is the words for the labels, those against, then the neutral word if any; ids
    and padding are as in :class:`dynprobe.tasks.counting.CountingTask`. Labels of a batch are
    bool, ``(sequences, n_labels)``.

    Attributes
    ----------
    n_labels
        Number of labels, at least 1.
    length
        Number of words, or the largest number when `min_length` is given; at least `n_labels`,
        for every label needs a word.
    min_length
        Smallest number of words, at least `n_labels`; None for sequences of one length.
    neutral
        Whether there is a word that is worth nothing.
    """

    n_labels: int = 2
    length: int = 50
    min_length: int | None = None
    neutral: bool = False

    def __post_init__(self) -> None:
        if self.n_labels < 1:
            raise ValueError(f"n_labels is {self.n_labels}. Pass at least 1 label.")
        check_lengths(self.length, self.min_length)
        if self._shortest < self.n_labels:
            argument = "length" if self.min_length is None else "min_length"
            raise ValueError(
                f"{argument} is {self._shortest} and n_labels is {self.n_labels}; every label "
                f"needs a word, or its score is 0. Pass {argument}={self.n_labels} or more."
            )
        share = _share_without_zeros(self._shortest, self.n_labels, self.neutral)
        if share < LEAST_SHARE:
            raise ValueError(
                f"Of sequences of {self._shortest} words only a share of {share:.1g} has no score "
                f"of 0 among {self.n_labels} labels, too few to draw them. Pass longer sequences "
                "or fewer labels."
            )

    @property
    def name(self) -> str:
        """The task's name, for titles and tables."""
        return f"multilabel-{self.n_labels}"

    @property
    def n_classes(self) -> int:
        """The number of labels, one output of a classifier each."""
        return self.n_labels

    @property
    def class_names(self) -> list[str]:
        """One name per label: letters, or numbered names where letters run out."""
        return letters(self.n_labels)

    @property
    def _words(self) -> list[str]:
        against = [f"not {name}" for name in self.class_names]
        return [*self.class_names, *against, *(["neutral"] if self.neutral else [])]

    @property
    def _word_scores(self) -> list[list[float]]:
        labels = range(self.n_labels)
        evidence = [
            [worth if label == k else 0.0 for label in labels]
            for worth in (1.0, -1.0)
            for k in labels
        ]
        return [*evidence, *([[0.0] * self.n_labels] if self.neutral else [])]

    def _draw(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        counts = counts_without(
            lengths,
            len(self._table),
            lambda some, _: (self._totals(some) == 0).any(dim=1),
            generator,
        )
        combinations = balanced_labels(len(lengths), 2**self.n_labels, generator)
        labels = (combinations[:, None] >> torch.arange(self.n_labels)) % 2 == 1
        k = self.n_labels
        pro, contra = counts[:, :k], counts[:, k : 2 * k]
        wrong = (pro > contra) != labels
        exchanged = [contra.where(wrong, pro), pro.where(wrong, contra), counts[:, 2 * k :]]
        return torch.cat(exchanged, dim=1), lengths, labels


def _share_without_zeros(length: int, n_labels: int, neutral: bool) -> float:
    """Share of the counts of `length` words in which no label has as many for it as against it.

    Counts are numbered by generating functions: of s words for or against one label there are
    s + 1 counts, of which one has a score of 0 where s is even.
    """
    each = np.arange(1.0, length + 2)
    unequal = each - (np.arange(length + 1) % 2 == 0)
    counts = kept = np.ones(length + 1) if neutral else np.eye(1, length + 1)[0]
    for _ in range(n_labels):
        counts, kept = (
            np.convolve(a, b)[: length + 1] for a, b in ((counts, each), (kept, unequal))
        )
        counts, kept = counts / counts[-1], kept / counts[-1]
    return float(kept[-1])


def multilabel(
    n_labels: int = 2, length: int = 50, min_length: int | None = None, *, neutral: bool = False
) -> Multilabel:
    """Return the multi-label counting task; see `Multilabel` for what the arguments mean.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> task = multilabel(2, length=6)
    >>> task.vocabulary
    ['A', 'B', 'not A', 'not B']
    >>> task.sample(4, seed=0).labels.sum(dim=0).tolist()
    [2, 2]
    """
    return Multilabel(n_labels, length, min_length, neutral)
