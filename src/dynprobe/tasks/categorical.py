"""The categorical counting task: name the class that has most evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from dynprobe.tasks.balance import balanced_labels
from dynprobe.tasks.counting import check_sizes
from dynprobe.tasks.counts import counts_without
from dynprobe.tasks.highest_score import HighestScoreTask

#: What becomes of sequences in which two classes have most evidence.
Ties = Literal["redrawn", "first"]


@dataclass(frozen=True)
class Categorical(HighestScoreTask):
    """Sequences of evidence and neutral words; the label is the class with most evidence.

    Each class has one evidence word, worth +1 for that class, and one neutral word is worth
    nothing (Aitken et al. 2020, arXiv 2010.15114). A network that solves the task
    has to remember ``n_classes - 1`` numbers, the relative evidence.

    Given the length, the counts of all words, the neutral one included, are uniform among those
    without a tie for the most evidence: tied counts are drawn anew. Balance comes from exchanging
    the counts of two classes' words, the winner's and the intended label's: the task is symmetric
    under renaming classes, so the counts given a label keep their distribution.

    The vocabulary is the evidence words, then the strong and the against words if any, then the
    neutral word; ids and padding are as in :class:`dynprobe.tasks.counting.CountingTask`.

    Attributes
    ----------
    n_classes
        Number of classes, at least 2.
    length
        Number of words, or the largest number when `min_length` is given.
    min_length
        Smallest number of words; None for sequences that all have `length` words.
    strong
        Whether each class has a second word, worth +2.
    against
        Whether each class has a word worth -1.
    """

    n_classes: int = 3
    length: int = 50
    min_length: int | None = None
    strong: bool = False
    against: bool = False

    def __post_init__(self) -> None:
        check_sizes(self.n_classes, self.length, self.min_length)

    @property
    def name(self) -> str:
        """The task's name, for titles and tables."""
        extras = ("-strong" if self.strong else "") + ("-against" if self.against else "")
        return f"categorical-{self.n_classes}{extras}"

    @property
    def _kinds(self) -> list[tuple[str, float]]:
        """How a class's words are called, and what they are worth."""
        kinds = [("{}", 1.0)]
        if self.strong:
            kinds.append(("very {}", 2.0))
        if self.against:
            kinds.append(("not {}", -1.0))
        return kinds

    @property
    def _words(self) -> list[str]:
        evidence = [form.format(name) for form, _ in self._kinds for name in self.class_names]
        return [*evidence, "neutral"]

    @property
    def _word_scores(self) -> list[list[float]]:
        evidence = [
            [worth if k == word else 0.0 for k in range(self.n_classes)]
            for _, worth in self._kinds
            for word in range(self.n_classes)
        ]
        return [*evidence, [0.0] * self.n_classes]

    def _draw(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        counts = self._untied(lengths, generator)
        labels = balanced_labels(len(lengths), self.n_classes, generator)
        # Columns of one class: its word of every kind.
        of_class = counts[:, :-1].unflatten(1, (-1, self.n_classes)).transpose(1, 2)
        rows = torch.arange(len(lengths))
        won = self._winners(counts)
        most, other = of_class[rows, won], of_class[rows, labels]
        # In this order: where the winner is the wanted class already, nothing changes.
        of_class[rows, won] = other
        of_class[rows, labels] = most
        return counts, lengths, labels


class CategoricalWithTies(Categorical):
    """The categorical task with ties: the first of the classes that share most evidence is right.

    The counts of a label are uniform among those it is right for. Classes are not alike, so
    balance comes from drawing counts anew until the intended label is right. The reference's
    networks were trained on such sequences (``rnn_multiclass/synthetic_data.py`` of
    github.com/kaitken17/colab_based_projects).

    Attributes are those of :class:`Categorical`.
    """

    @property
    def name(self) -> str:
        """The task's name, for titles and tables."""
        return f"{super().name}-ties"

    def _draw(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        labels = balanced_labels(len(lengths), self.n_classes, generator)
        counts = counts_without(
            lengths,
            len(self._table),
            lambda some, rows: self._winners(some) != labels[rows],
            generator,
        )
        return counts, lengths, labels


def categorical(
    n_classes: int = 3,
    length: int = 50,
    min_length: int | None = None,
    *,
    strong: bool = False,
    against: bool = False,
    ties: Ties = "redrawn",
) -> Categorical:
    """Return the categorical counting task; see `Categorical` for what the arguments mean.

    Parameters
    ----------
    n_classes, length, min_length, strong, against
        See :class:`Categorical`.
    ties
        What becomes of sequences in which several classes have most evidence: ``"redrawn"``, there
        are none, or ``"first"``, they count to the first of these (:class:`CategoricalWithTies`).

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> task = categorical(n_classes=3, length=5)
    >>> task.vocabulary
    ['A', 'B', 'C', 'neutral']
    >>> task.sample(4, seed=0).tokens.shape
    torch.Size([4, 5])
    >>> categorical(2, strong=True, against=True).vocabulary
    ['A', 'B', 'very A', 'very B', 'not A', 'not B', 'neutral']
    """
    if ties not in get_args(Ties):
        raise ValueError(
            f"ties is {ties!r}. Pass 'redrawn' for sequences without ties, or 'first' to count "
            "them to the first of the tied classes."
        )
    kind = CategoricalWithTies if ties == "first" else Categorical
    return kind(n_classes, length, min_length, strong, against)
