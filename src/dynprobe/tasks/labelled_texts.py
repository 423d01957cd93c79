"""Texts with their labels as tensors, and the steps from there to one part of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.tasks.text_split import TextSplit
from dynprobe.tasks.words import split_words, word_ids


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts, their labels, and where each was read.

    Attributes
    ----------
    texts
        The texts as written.
    labels
        Class indices, int64, ``(rows,)``, or bool, ``(rows, labels)``.
    places
        File and line of each.
    """

    texts: list[str]
    labels: Tensor
    places: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def only(self, rows: Tensor) -> LabelledTexts:
        """Return the rows at these indices."""
        at = rows.tolist()
        return LabelledTexts(
            [self.texts[i] for i in at], self.labels[rows], [self.places[i] for i in at]
        )

    def up_to(self, max_length: int) -> tuple[LabelledTexts, list[str]]:
        """Return the texts of at most `max_length` words, and where the others were read."""
        fits = torch.tensor([len(split_words(text)) <= max_length for text in self.texts]).bool()
        longer = [self.places[i] for i in (~fits).nonzero().flatten().tolist()]
        return self.only(fits.nonzero().flatten()), longer

    def encoded(self, ids: Mapping[str, int], max_length: int, dropped: list[str]) -> TextSplit:
        """Return the part with word ids, longer texts cut; `dropped` is what it lacks already."""
        tokens = [word_ids(text, ids) for text in self.texts]
        cut = [
            place
            for place, sequence in zip(self.places, tokens, strict=True)
            if len(sequence) > max_length
        ]
        tokens = [sequence[:max_length] for sequence in tokens]
        return TextSplit(self.texts, self.labels, tokens, cut, dropped)
