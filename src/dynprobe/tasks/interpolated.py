"""Between the categorical and the ordered task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dynprobe.tasks.balance import balanced_labels, first_of_each
from dynprobe.tasks.counting import check_sizes
from dynprobe.tasks.counts import uniform_counts
from dynprobe.tasks.highest_score import HighestScoreTask
from dynprobe.tasks.scored_counts import ScoredCounts


@dataclass(frozen=True)
class Interpolated(HighestScoreTask):
    """Word scores that go from categorical (t = 0) to ordered (t = 1); the highest score wins.

    There is one word per class and a neutral word. Word w of class k adds to the score of k

    * categorical: 1 if w is the word of k, else 0;
    * ordered: ``c (u_k v_w - u_k^2 / 2)``, with word values v evenly spaced from -1 to 1 (the
      neutral word's is 0) and ``u_k = (2 k + 1) / n_classes - 1`` the middle of band k of the
      range -1 to 1. The highest sum is that of the band nearest to ``sum_w n_w v_w / length``, so
      that this *is* the ordered task with graded words. The constant c gives both tables the
      same sum of squares about each word's mean over classes.

    A word's scores are (1 - t) times the first plus t times the second. Counts are drawn in the
    same proportion: uniformly, as in the categorical task, with probability 1 - t, and score
    first, as in the ordered task, with probability t (uniform counts alone would leave the outer
    bands almost empty). Sequences with a tie for the highest score are dropped, and so are
    those of a class that has its share. The mixture between two tasks, and its distribution, are
    our own definition.

    In sequences of several lengths, each class keeps the lengths that it occurs at: those of one
    class need not be uniform.

    Attributes
    ----------
    n_classes
        Number of classes, at least 2.
    t
        From 0, categorical, to 1, ordered.
    length
        Number of words, or the largest number when `min_length` is given. Every class occurs at
        every length: the word of a class alone speaks for it on both sides.
    min_length
        Smallest number of words; None for sequences that all have `length` words.
    """

    n_classes: int = 3
    t: float = 0.5
    length: int = 50
    min_length: int | None = None

    def __post_init__(self) -> None:
        check_sizes(self.n_classes, self.length, self.min_length)
        if not 0 <= self.t <= 1:
            raise ValueError(f"t is {self.t}. Pass 0 (categorical) to 1 (ordered).")

    @property
    def name(self) -> str:
        """The task's name, for titles and tables."""
        return f"interpolated-{self.n_classes}-{self.t:g}"

    @property
    def _words(self) -> list[str]:
        return [*self.class_names, "neutral"]

    @property
    def _values(self) -> list[int]:
        """The words' values on the ordered side, times ``n_classes - 1``."""
        return [*(2 * k - (self.n_classes - 1) for k in range(self.n_classes)), 0]

    @property
    def _word_scores(self) -> list[list[float]]:
        n = self.n_classes
        unit = torch.eye(n + 1, n, dtype=torch.float64)
        values = torch.tensor(self._values, dtype=torch.float64)[:, None] / (n - 1)
        middles = (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1
        bands = values * middles - middles**2 / 2
        bands = bands * (_spread(unit) / _spread(bands))
        mixed: list[list[float]] = torch.lerp(unit, bands, self.t).tolist()
        return mixed

    @cached_property
    def _scored(self) -> ScoredCounts:
        return ScoredCounts(self._values, self.length)

    def _draw(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        n = len(lengths)
        missing = torch.bincount(
            balanced_labels(n, self.n_classes, generator), minlength=self.n_classes
        )
        counts: list[Tensor] = []
        labels: list[Tensor] = []
        while int(missing.max()):
            # More than equally frequent classes would need: the rarest may have half its share.
            size = max(64, 5 * self.n_classes * int(missing.max()) // 2)
            drawn = self._unbalanced(size, generator)
            drawn = drawn[~self._tied(drawn)]
            won = self._winners(drawn)
            rows = first_of_each(won, missing)
            counts.append(drawn[rows])
            labels.append(won[rows])
            missing = missing - torch.bincount(won[rows], minlength=self.n_classes)
        order = torch.randperm(n, generator=generator)
        chosen = torch.cat(counts)[order]
        return chosen, chosen.sum(dim=1), torch.cat(labels)[order]

    def _unbalanced(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw counts ``(n, words)`` of either kind, whatever their class."""
        lengths = torch.randint(self._shortest, self.length + 1, (n,), generator=generator)
        ordered = torch.rand(n, dtype=torch.float64, generator=generator) < self.t
        counts = torch.empty(n, self.n_classes + 1, dtype=torch.int64)
        if bool(ordered.any()):
            some = lengths[ordered]
            mark = torch.rand(len(some), dtype=torch.float64, generator=generator)
            place = (mark * self._scored.n_scores[some]).long()
            scores = self._scored.scores[some, place]
            counts[ordered] = self._scored.draw(some, scores, generator)
        if not bool(ordered.all()):
            counts[~ordered] = uniform_counts(lengths[~ordered], self.n_classes + 1, generator)
        return counts


def _spread(table: Tensor) -> Tensor:
    """Sum of squares about each word's mean, as a length."""
    return (table - table.mean(dim=1, keepdim=True)).square().sum().sqrt()


def interpolated(
    n_classes: int = 3, t: float = 0.5, length: int = 50, min_length: int | None = None
) -> Interpolated:
    """Return the task between categorical and ordered; see `Interpolated` for its definition.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> interpolated(3, t=0.0).evidence.tolist()[0]
    [1.0, 0.0, 0.0]
    >>> sorted(interpolated(3, t=0.5, length=20).sample(6, seed=0).labels.tolist())
    [0, 0, 1, 1, 2, 2]
    """
    return Interpolated(n_classes, t, length, min_length)
