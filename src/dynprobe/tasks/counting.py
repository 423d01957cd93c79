"""What all synthetic tasks are: words in any order that each add evidence to some scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from dynprobe.tasks.batch import Batch
from dynprobe.tasks.counts import shuffled_words
from dynprobe.tasks.randomness import explicit_generator


class CountingTask(ABC):
    """Sequences whose label depends on how often each word occurs, not on the order.

    A task says which words there are, what each adds to the scores, and how the counts of a
    sequence are drawn. The rest is the same for all of them and stands here.

    Word ids are positions in `vocabulary`. Sequences of one length need no padding. With
    `min_length` sequences differ in length; then ``"<pad>"`` comes first, so that padding is id 0
    as in `dynprobe.tasks.text`, and `padding_idx` is 0 instead of None.

    Attributes
    ----------
    length
        Number of words, or the largest number when `min_length` is given.
    min_length
        Smallest number of words; None for sequences that all have `length` words.
    """

    @property
    @abstractmethod
    def length(self) -> int: ...

    @property
    @abstractmethod
    def min_length(self) -> int | None: ...

    @property
    @abstractmethod
    def _words(self) -> list[str]:
        """The words without padding."""

    @property
    @abstractmethod
    def _word_scores(self) -> list[list[float]]:
        """What each of these words adds to each score, ``(words, n_scores)``."""

    @abstractmethod
    def _draw(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw counts for balanced labels.

        `lengths` ``(sequences,)`` are those asked for. Returns counts, int64,
        ``(sequences, words)``, their sums, and labels. A task may give other lengths than those
        asked for, see :class:`dynprobe.tasks.interpolated.Interpolated`.
        """

    @property
    def vocabulary(self) -> list[str]:
        """The words by id: ``"<pad>"`` if any, then the words."""
        padding = [] if self.padding_idx is None else ["<pad>"]
        return [*padding, *self._words]

    @property
    def padding_idx(self) -> int | None:
        """The id of ``"<pad>"``, or None for a task of one length."""
        return None if self.min_length is None else 0

    @property
    def evidence(self) -> Tensor:
        """What each word adds to each score, float64, ``(words, n_scores)``, 0 for padding.

        Float64, so that sums over a sequence tell ties from near ties.
        """
        return self._evidence.clone()

    def scores(self, tokens: Tensor) -> Tensor:
        """Return the evidence accumulated after every word.

        Parameters
        ----------
        tokens
            Word ids, int64, ``(sequences, time)``.

        Returns
        -------
        Tensor
            Float64, ``(sequences, time, n_scores)``. Padding adds nothing: after its end a
            sequence keeps its final scores.
        """
        return self._evidence.to(tokens.device)[tokens].cumsum(dim=1)

    def sample(
        self, n: int, *, seed: int | None = None, generator: torch.Generator | None = None
    ) -> Batch:
        """Draw `n` labelled sequences.

        Lengths are uniform in ``[min_length, length]``; the counts of the words are drawn as the
        class says, and every order of the words is equally likely. Classes are as balanced as
        `n` allows (they differ by at most one sequence) and in random order.

        Parameters
        ----------
        n
            Number of sequences, at least 1.
        seed, generator
            Source of randomness, exactly one of them. The global random state is left alone.

        Returns
        -------
        Batch
            `n` sequences, ``(n, length of the longest)``.

        Raises
        ------
        ValueError
            If `n` is below 1, or `seed` and `generator` are both given or both missing.
        """
        if n < 1:
            raise ValueError(f"n is {n}. Ask for at least 1 sequence.")
        generator = explicit_generator(seed, generator)
        wanted = torch.randint(self._shortest, self.length + 1, (n,), generator=generator)
        counts, lengths, labels = self._draw(wanted, generator)
        words = shuffled_words(counts, generator)
        if self.padding_idx is None:
            return Batch(words, lengths, labels)
        padding = words == counts.shape[1]
        return Batch((words + 1).masked_fill(padding, 0), lengths, labels)

    @property
    def _shortest(self) -> int:
        return self.length if self.min_length is None else self.min_length

    @cached_property
    def _table(self) -> Tensor:
        """`_word_scores` as float64, ``(words, n_scores)``."""
        return torch.tensor(self._word_scores, dtype=torch.float64)

    @cached_property
    def _evidence(self) -> Tensor:
        if self.padding_idx is None:
            return self._table
        return torch.cat([torch.zeros_like(self._table[:1]), self._table])

    def _totals(self, counts: Tensor) -> Tensor:
        """Return the final scores of counts ``(sequences, words)``, ``(sequences, n_scores)``."""
        return counts.to(torch.float64) @ self._table


def check_sizes(n_classes: int, length: int, min_length: int | None) -> None:
    """Refuse fewer than two classes and lengths that no sequence has.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    if n_classes < 2:
        raise ValueError(
            f"n_classes is {n_classes}; a choice needs at least 2 classes. "
            "Pass n_classes=2 or more."
        )
    check_lengths(length, min_length)


def check_lengths(length: int, min_length: int | None) -> None:
    """Refuse lengths that no sequence has.

    Raises
    ------
    ValueError
        Naming the argument.
    """
    if length < 1:
        raise ValueError(f"length is {length}. Pass a length of at least 1 word.")
    if min_length is not None and not 1 <= min_length <= length:
        raise ValueError(
            f"min_length is {min_length} and length is {length}. Pass a min_length "
            "from 1 to length, or None for sequences of one length."
        )


def letters(n: int) -> list[str]:
    """Return `n` names: letters, or numbered names where letters run out."""
    if n <= 26:
        return [chr(ord("A") + k) for k in range(n)]
    return [f"class {k}" for k in range(n)]
