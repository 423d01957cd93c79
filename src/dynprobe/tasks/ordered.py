"""The ordered counting task: in which band the score lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, overload

from torch import Tensor

from dynprobe.tasks.counting import check_sizes
from dynprobe.tasks.five_stars import FiveStars
from dynprobe.tasks.score_first import ScoreFirstTask

_WORDS = {"good": 1, "bad": -1, "neutral": 0}
_STRONG_WORDS = {"awesome": 2, "good": 1, "okay": 0, "bad": -1, "awful": -2, "neutral": 0}


@dataclass(frozen=True)
class Ordered(ScoreFirstTask):
    """Sequences of good, bad and neutral words; the label is the band of their score.

    The score is +1 for every "good", -1 for every "bad"; with `strong` also +2 for "awesome", -2
    for "awful", 0 for "okay" (Aitken et al. 2020, arXiv 2010.15114). With v the largest
    word score, the range from ``-length v`` to ``length v`` of a sequence of `length` words is
    cut into `n_classes` equal bands, and the label is the band, the lowest being class 0. A
    score exactly between two bands is not drawn. In sequences of several lengths the bands scale
    with the length of the sequence.

    The score is drawn uniformly among a class's scores, and counts uniformly among all with this
    score, see :class:`dynprobe.tasks.score_first.ScoreFirstTask`.

    Attributes
    ----------
    n_classes
        Number of bands, at least 2.
    length
        Number of words, or the largest number when `min_length` is given.
    min_length
        Smallest number of words; None for sequences that all have `length` words.
    strong
        Whether there are the words "awesome", "okay" and "awful".
    """

    n_classes: int = 3
    length: int = 50
    min_length: int | None = None
    strong: bool = False

    def __post_init__(self) -> None:
        check_sizes(self.n_classes, self.length, self.min_length)
        self._check_classes()

    @property
    def name(self) -> str:
        """The task's name, for titles and tables."""
        return f"ordered-{self.n_classes}{'-strong' if self.strong else ''}"

    @property
    def class_names(self) -> list[str]:
        """The bands from the lowest score on, ``"band 1"`` and so on."""
        return [f"band {k + 1}" for k in range(self.n_classes)]

    @property
    def _words(self) -> list[str]:
        return list(_STRONG_WORDS if self.strong else _WORDS)

    @property
    def _values(self) -> list[int]:
        return list((_STRONG_WORDS if self.strong else _WORDS).values())

    @property
    def _word_scores(self) -> list[list[float]]:
        return [[float(value)] for value in self._values]

    def _classes(self, sums: Tensor, length: int) -> Tensor:
        # In units of 1 / n_classes the borders are multiples of the range: exact in integers.
        reach = length * max(self._values)
        place = (sums + reach) * self.n_classes
        band = (place // (2 * reach)).clamp(max=self.n_classes - 1)
        border = (place % (2 * reach) == 0) & (sums.abs() < reach)
        return band.masked_fill(border, -1)


@overload
def ordered(
    n_classes: int = ...,
    length: int = ...,
    min_length: int | None = ...,
    *,
    strong: bool = ...,
    two_scores: Literal[False] = ...,
) -> Ordered: ...
@overload
def ordered(
    n_classes: int = ...,
    length: int = ...,
    min_length: int | None = ...,
    *,
    strong: bool = ...,
    two_scores: Literal[True],
) -> FiveStars: ...
def ordered(
    n_classes: int = 3,
    length: int = 50,
    min_length: int | None = None,
    *,
    strong: bool = False,
    two_scores: bool = False,
) -> Ordered | FiveStars:
    """Return the ordered counting task; see `Ordered` for what the arguments mean.

    Parameters
    ----------
    n_classes, length, min_length, strong
        Of `Ordered`.
    two_scores
        Take the five-star task with two scores instead, `FiveStars`: `n_classes` is then 5, and
        the strong words are always there.

    Raises
    ------
    ValueError
        If an argument is out of range, or a class has no score at some length.

    Examples
    --------
    >>> task = ordered(5, length=50)
    >>> task.vocabulary, task.evidence.squeeze(1).tolist()
    (['good', 'bad', 'neutral'], [1.0, -1.0, 0.0])
    >>> ordered(5, two_scores=True).evidence.shape
    torch.Size([6, 2])
    """
    if not two_scores:
        return Ordered(n_classes, length, min_length, strong)
    if n_classes != 5:
        raise ValueError(
            f"n_classes is {n_classes}, and the task with two scores has five stars. "
            "Pass n_classes=5, or two_scores=False."
        )
    return FiveStars(length, min_length)
