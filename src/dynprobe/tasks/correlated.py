"""Categorical evidence that counts in part for neighbouring classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.tasks.balance import balanced_labels
from dynprobe.tasks.counting import check_sizes
from dynprobe.tasks.highest_score import HighestScoreTask


@dataclass(frozen=True)
class Correlated(HighestScoreTask):
    """The categorical task on a ring of classes: a word also speaks for its class's neighbours.

    The word of class k adds 1 to class k and `rho` to the classes k - 1 and k + 1, the last class
    being a neighbour of the first; the neutral word adds nothing. The label is the class with
    the highest score. `rho` = 0 is `dynprobe.tasks.categorical`. In the Fourier basis of the ring
    the m-th component of the relative evidence is scaled by ``1 + 2 rho cos(2 pi m / n_classes)``:
    as `rho` grows, the two slowest components, a disc, outweigh the other dimensions of the
    simplex (that correlation between classes lowers the dimension is a claim of Aitken et al.
    2020, arXiv 2010.15114; the ring is ours).

    Given the length, counts are uniform among those without a tie, as in the categorical task.
    Balance comes from turning the ring, which maps the winner to the intended label and leaves
    the distribution as it is.

    Attributes
    ----------
    n_classes
        Number of classes, at least 4: of three classes each neighbours both others, and the task
        would be the categorical one with weaker words.
    rho
        The fraction that counts for the neighbours, from 0 to below 1.
    length
        Number of words, or the largest number when `min_length` is given.
    min_length
        Smallest number of words; None for sequences that all have `length` words.
    """

    n_classes: int = 5
    rho: float = 0.5
    length: int = 50
    min_length: int | None = None

    def __post_init__(self) -> None:
        check_sizes(self.n_classes, self.length, self.min_length)
        if self.n_classes < 4:
            raise ValueError(
                f"n_classes is {self.n_classes}; on a ring of fewer than 4 classes all are "
                "neighbours, and no correlation is left. Pass n_classes=4 or more."
            )
        if not 0 <= self.rho < 1:
            raise ValueError(
                f"rho is {self.rho}. Pass a fraction from 0 to below 1; at 1 a word would no "
                "longer say which of its classes is meant."
            )

    @property
    def name(self) -> str:
        """The task's name, for titles and tables."""
        return f"correlated-{self.n_classes}-{self.rho:g}"

    @property
    def _words(self) -> list[str]:
        return [*self.class_names, "neutral"]

    @property
    def _word_scores(self) -> list[list[float]]:
        n = self.n_classes
        first = [1.0, self.rho, *[0.0] * (n - 3), self.rho]
        return [*([first[(k - word) % n] for k in range(n)] for word in range(n)), [0.0] * n]

    def _draw(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        counts = self._untied(lengths, generator)
        labels = balanced_labels(len(lengths), self.n_classes, generator)
        turn = labels - self._winners(counts)
        source = (torch.arange(self.n_classes) - turn[:, None]) % self.n_classes
        turned = counts.gather(1, source)
        return torch.cat([turned, counts[:, -1:]], dim=1), lengths, labels


def correlated(
    n_classes: int = 5, rho: float = 0.5, length: int = 50, min_length: int | None = None
) -> Correlated:
    """Return the task with correlated classes; see `Correlated` for what the arguments mean.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> correlated(4, rho=0.5, length=5).evidence[0].tolist()
    [1.0, 0.5, 0.0, 0.5]
    """
    return Correlated(n_classes, rho, length, min_length)
