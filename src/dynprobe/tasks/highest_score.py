"""Tasks whose label is the class with the highest score."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from dynprobe.tasks.counting import CountingTask, letters
from dynprobe.tasks.counts import counts_without

# Scores are sums of at most a few hundred numbers of size 1 in float64: rounding stays far below.
_ROUNDING = 1e-9


class HighestScoreTask(CountingTask):
    """A table of word scores, one column per class; the class with the highest sum is the label.

    What becomes of sequences in which two classes share the highest score, a task decides.

    Attributes
    ----------
    n_classes
        Number of classes, at least 2.
    """

    @property
    @abstractmethod
    def n_classes(self) -> int: ...

    @property
    def class_names(self) -> list[str]:
        """One name per class: letters, or numbered names where letters run out."""
        return letters(self.n_classes)

    def _winners(self, counts: Tensor) -> Tensor:
        """Return the (first) class of the highest score, int64, ``(sequences,)``."""
        return self._totals(counts).argmax(dim=1)

    def _tied(self, counts: Tensor) -> Tensor:
        """Whether the two highest scores are equal up to rounding, bool, ``(sequences,)``."""
        best = self._totals(counts).topk(2, dim=1).values
        return best[:, 0] - best[:, 1] <= _ROUNDING

    def _untied(self, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Draw counts uniformly among those without a tie, ``(sequences, words)``."""
        return counts_without(
            lengths, len(self._table), lambda some, _: self._tied(some), generator
        )
