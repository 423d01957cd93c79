"""Five stars from two scores: how good, and how lukewarm."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from dynprobe.tasks.counting import check_lengths
from dynprobe.tasks.score_first import ScoreFirstTask

_WORDS = {
    "awesome": (2, 0),
    "good": (1, 1),
    "okay": (0, 1),
    "bad": (-1, 1),
    "awful": (-2, 0),
    "neutral": (0, 0),
}


@dataclass(frozen=True)
class FiveStars(ScoreFirstTask):
    """Sequences of words with a sentiment and a neutrality; the label is a sector of the two.

    Stars need about two numbers, sentiment and its lack (Aitken et al. 2020, arXiv 2010.15114).
    Ours are: sentiment +2 for "awesome", +1 "good", 0 "okay", -1 "bad", -2 "awful"; neutrality
    1 for "good", "okay" and "bad", 0 for "awesome" and "awful"; "neutral" has neither.
    With s and n their sums over the sequence, the half-plane of (s, n), n >= 0, is cut from the
    origin into five equal sectors of 36 degrees, and the label is the sector of the angle
    ``atan2(n, s)``: five stars next to the positive axis of sentiment, three about the axis of
    neutrality, one star next to the negative axis. The origin belongs to none and is not drawn;
    no other pair of integers lies on a border.

    The pair is drawn uniformly among a class's pairs, and counts uniformly among all with this
    pair, see :class:`dynprobe.tasks.score_first.ScoreFirstTask`.

    Attributes
    ----------
    length
        Number of words, or the largest number when `min_length` is given.
    min_length
        Smallest number of words; None for sequences that all have `length` words.
    """

    length: int = 50
    min_length: int | None = None

    def __post_init__(self) -> None:
        check_lengths(self.length, self.min_length)

    @property
    def name(self) -> str:
        """The task's name, for titles and tables."""
        return "ordered-5-two-scores"

    @property
    def n_classes(self) -> int:
        """Five."""
        return 5

    @property
    def class_names(self) -> list[str]:
        """From one star to five."""
        return ["1 star", *(f"{k} stars" for k in range(2, 6))]

    @property
    def _words(self) -> list[str]:
        return list(_WORDS)

    @property
    def _word_scores(self) -> list[list[float]]:
        return [[float(sentiment), float(neutrality)] for sentiment, neutrality in _WORDS.values()]

    @property
    def _base(self) -> int:
        """How many sentiments there are: neutrality counts in multiples of it."""
        return 4 * self.length + 1

    @property
    def _values(self) -> list[int]:
        return [sentiment + self._base * neutrality for sentiment, neutrality in _WORDS.values()]

    def _classes(self, sums: Tensor, length: int) -> Tensor:
        neutrality = (sums + 2 * self.length) // self._base
        sentiment = sums - neutrality * self._base
        angle = torch.atan2(neutrality.double(), sentiment.double())
        stars = (4 - (5 * angle / pi).floor()).clamp(min=0).long()
        return stars.masked_fill((sentiment == 0) & (neutrality == 0), -1)
