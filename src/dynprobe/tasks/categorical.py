"""The categorical counting task: name the class that has most evidence words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.tasks.batch import Batch
from dynprobe.tasks.counts import shuffled_words, uniform_counts
from dynprobe.tasks.randomness import explicit_generator


@dataclass(frozen=True)
class Categorical:
    """Sequences of evidence and neutral words; the label is the class with most evidence.

    Each class has one evidence word, worth +1 for that class, and one neutral word is worth
    nothing (Aitken et al. 2020, arXiv 2010.15114). A network that solves the task
    has to remember ``n_classes - 1`` numbers, the relative evidence.

    Word ids are positions in `vocabulary`. Sequences of one length need no padding, and the
    vocabulary is the evidence words followed by the neutral word. With `min_length` sequences
    differ in length; then ``"<pad>"`` comes first, so that padding is id 0 as in
    `dynprobe.tasks.text`, and `padding_idx` is 0 instead of None.

    Attributes
    ----------
    n_classes
        Number of classes, at least 2.
    length
        Number of words, or the largest number when `min_length` is given.
    min_length
        Smallest number of words; None for sequences that all have `length` words.
    """

    n_classes: int = 3
    length: int = 50
    min_length: int | None = None

    def __post_init__(self) -> None:
        if self.n_classes < 2:
            raise ValueError(
                f"n_classes is {self.n_classes}; a choice needs at least 2 classes. "
                "Pass n_classes=2 or more."
            )
        if self.length < 1:
            raise ValueError(f"length is {self.length}. Pass a length of at least 1 word.")
        if self.min_length is not None and not 1 <= self.min_length <= self.length:
            raise ValueError(
                f"min_length is {self.min_length} and length is {self.length}. Pass a min_length "
                "from 1 to length, or None for sequences of one length."
            )

    @property
    def name(self) -> str:
        """The task's name, for titles and tables."""
        return f"categorical-{self.n_classes}"

    @property
    def class_names(self) -> list[str]:
        """One name per class: letters, or numbered names where letters run out."""
        if self.n_classes <= 26:
            return [chr(ord("A") + k) for k in range(self.n_classes)]
        return [f"class {k}" for k in range(self.n_classes)]

    @property
    def vocabulary(self) -> list[str]:
        """The words by id: ``"<pad>"`` if any, evidence for each class, ``"neutral"``."""
        padding = [] if self.padding_idx is None else ["<pad>"]
        return [*padding, *self.class_names, "neutral"]

    @property
    def padding_idx(self) -> int | None:
        """The id of ``"<pad>"``, or None for a task of one length."""
        return None if self.min_length is None else 0

    def sample(
        self, n: int, *, seed: int | None = None, generator: torch.Generator | None = None
    ) -> Batch:
        """Draw `n` labelled sequences.

        Lengths are uniform in ``[min_length, length]``. Given the length, the counts of all
        words, the neutral one included, are uniform among those without a tie for the most
        evidence: tied counts are drawn anew. Classes are as balanced as `n` allows (they differ
        by at most one sequence) and in random order. Balance comes from exchanging two counts,
        the winner's and the intended label's: the task is symmetric under renaming classes, so
        the counts given a label keep their distribution.

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
        low = self.length if self.min_length is None else self.min_length
        lengths = torch.randint(low, self.length + 1, (n,), generator=generator)
        counts = self._untied_counts(lengths, generator)
        labels = self._balanced_labels(n, generator)

        winners = counts[:, :-1].argmax(dim=1, keepdim=True)
        wanted = labels[:, None]
        most, other = counts.gather(1, winners), counts.gather(1, wanted)
        # In this order: where the winner is the wanted class already, nothing changes.
        counts = counts.scatter(1, winners, other).scatter(1, wanted, most)

        words = shuffled_words(counts, generator)
        if self.padding_idx is None:
            return Batch(words, lengths, labels)
        padding = words == self.n_classes + 1
        return Batch((words + 1).masked_fill(padding, 0), lengths, labels)

    def _untied_counts(self, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Draw counts ``(sequences, n_classes + 1)``, neutral last, with a single winner."""
        counts = uniform_counts(lengths, self.n_classes + 1, generator)
        while True:
            best = counts[:, :-1].topk(2, dim=1).values
            tied = (best[:, 0] == best[:, 1]).nonzero().squeeze(1)
            if len(tied) == 0:
                return counts
            # Same length again: dropping the sequence would favour lengths that tie less often.
            counts[tied] = uniform_counts(lengths[tied], self.n_classes + 1, generator)

    def _balanced_labels(self, n: int, generator: torch.Generator) -> Tensor:
        """Return labels ``(n,)`` whose class counts differ by at most one, in random order."""
        # Which classes get one more where n is not a multiple of n_classes is random too.
        classes = torch.randperm(self.n_classes, generator=generator)
        labels = classes[torch.arange(n) % self.n_classes]
        return labels[torch.randperm(n, generator=generator)]


def categorical(n_classes: int = 3, length: int = 50, min_length: int | None = None) -> Categorical:
    """Return the categorical counting task; see `Categorical` for what the arguments mean.

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
    """
    return Categorical(n_classes, length, min_length)
