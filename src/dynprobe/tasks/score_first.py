"""Tasks that draw the score first and then the counts that have it."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dynprobe.tasks.balance import balanced_labels
from dynprobe.tasks.counting import CountingTask
from dynprobe.tasks.scored_counts import ScoredCounts


class ScoreFirstTask(CountingTask):
    """Labels are regions of the score; every attainable score of a region is equally likely.

    For a sequence: a class (balanced), a score uniformly among those that the class has at the
    sequence's length, then counts uniformly among all that have this score, exactly (see
    :class:`dynprobe.tasks.scored_counts.ScoredCounts`). Uniform counts alone would leave the
    outer classes almost empty.

    Where there are several scores, `_values` packs them into one integer per word, so that equal
    sums mean equal scores.
    """

    @property
    @abstractmethod
    def class_names(self) -> list[str]: ...

    @property
    @abstractmethod
    def _values(self) -> list[int]:
        """The score of each word, or its scores packed into one integer."""

    @abstractmethod
    def _classes(self, sums: Tensor, length: int) -> Tensor:
        """Return the class of each sum of `_values` at `length`, -1 on a border."""

    def _check_classes(self) -> None:
        """Refuse lengths at which a class has no score.

        Raises
        ------
        ValueError
            Naming the length and the class.
        """
        for length in range(self._shortest, self.length + 1):
            empty = (self._choices[1][length - self._shortest] == 0).nonzero().flatten()
            if len(empty):
                raise ValueError(
                    f"No sequence of {length} words is of class "
                    f"{self.class_names[int(empty[0])]!r} with {len(self.class_names)} classes. "
                    "Pass a larger length (or min_length), or fewer classes."
                )

    @cached_property
    def _counts(self) -> ScoredCounts:
        return ScoredCounts(self._values, self.length)

    @cached_property
    def _choices(self) -> tuple[Tensor, Tensor]:
        """The scores of each class by length, ``(lengths, classes, most)``, and how many."""
        n_classes = len(self.class_names)
        rows: list[Tensor] = []
        for length in range(self._shortest, self.length + 1):
            sums = self._counts.scores[length, : self._counts.n_scores[length]]
            classes = self._classes(sums, length)
            rows += [sums[classes == k] for k in range(n_classes)]
        how_many = torch.tensor([len(row) for row in rows]).view(-1, n_classes)
        return pad_sequence(rows, batch_first=True).unflatten(0, how_many.shape), how_many

    def _draw(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        labels = balanced_labels(len(lengths), len(self.class_names), generator)
        sums, how_many = self._choices
        at = (lengths - self._shortest, labels)
        mark = torch.rand(len(lengths), dtype=torch.float64, generator=generator)
        sums = sums[(*at, (mark * how_many[at]).long())]
        return self._counts.draw(lengths, sums, generator), lengths, labels
