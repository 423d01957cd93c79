"""Splitting text into words and words into ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

PAD, UNKNOWN = 0, 1
SPECIAL_WORDS = ("<pad>", "<unk>")

# Letters and digits, with apostrophes inside a word kept: "don't" is one word.
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def split_words(text: str) -> list[str]:
    """Return the lower-cased words of `text`; punctuation is left out."""
    return _WORD.findall(text.lower())


def frequent_words(texts: Iterable[str], size: int) -> list[str]:
    """Return ``<pad>``, ``<unk>`` and the most frequent words, at most `size` in all.

    Words of one frequency come in alphabetical order, so that the result depends on nothing else.
    """
    counts = Counter(word for text in texts for word in split_words(text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return [*SPECIAL_WORDS, *ranked[: size - len(SPECIAL_WORDS)]]


def word_ids(text: str, ids: Mapping[str, int]) -> Tensor:
    """Return the ids of the words of `text`, int64, ``(words,)``.

    A text without any word becomes a single ``<unk>``: a sequence has at least one step.
    """
    words = [ids.get(word, UNKNOWN) for word in split_words(text)]
    return torch.tensor(words or [UNKNOWN], dtype=torch.int64)
