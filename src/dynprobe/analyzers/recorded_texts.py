"""The recorded sequences as texts: words and labels without a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynprobe.analyzers.answers import IGNORED, Labels
from dynprobe.errors import NothingRecordedError
from dynprobe.recording import Recording


@dataclass(frozen=True)
class Texts:
    """Labelled sequences with at least one token.

    Attributes
    ----------
    words : list of Tensor
        Token ids of each, int64.
    labels : Tensor
        (texts,) classes, or (texts, labels) of bool.
    n_classes, vocabulary_size : int
        Classes or labels, and token ids, that there can be.
    """

    words: list[Tensor]
    labels: Tensor
    n_classes: int
    vocabulary_size: int

    @classmethod
    def of(cls, rec: Recording, n_logits: int | None = None) -> Texts:
        """Those of a recording with tokens and labels that fit.

        Parameters
        ----------
        n_logits : int, optional
            Of the readout, if there is one: so many classes there are at least.

        Raises
        ------
        NothingRecordedError
            If none is left, or the labels are neither classes nor 0 and 1 for each of several
            labels; says why.
        """
        assert rec.tokens is not None
        assert rec.labels is not None
        several = rec.labels.dim() == 2 and rec.labels.shape[1] > 1
        width = rec.labels.shape[1] if several else _width(rec, n_logits)
        given = Labels.of(rec.labels, width)
        if given.values is None:
            raise NothingRecordedError(f"The labels do not fit: {given.problem}.")
        labels = given.values
        known = (labels != IGNORED).reshape(len(labels), -1).all(1) & (rec.lengths.cpu() > 0)
        rows = known.nonzero().flatten()
        if len(rows) == 0:
            raise NothingRecordedError("No recorded sequence has tokens and a known label.")
        tokens = rec.tokens.cpu()
        words = [tokens[i, : int(rec.lengths[i])].long() for i in rows.tolist()]
        size = int(torch.cat(words).max()) + 1
        if rec.meta.vocabulary is not None:
            size = max(size, len(rec.meta.vocabulary))
        chosen = labels[rows].bool() if several else labels[rows]
        return cls(words, chosen, width, size)

    def that_occur(self) -> Texts:
        """The same with classes that no text has left out, and labels that none or all have.

        Raises
        ------
        NothingRecordedError
            If fewer than two classes, or no label, are left.
        """
        if self.labels.dim() == 1:
            _, labels = self.labels.unique(return_inverse=True)
            n = int(labels.max()) + 1
            if n < 2:
                raise NothingRecordedError("All recorded sequences have the same label.")
        else:
            share = self.labels.double().mean(0)
            labels = self.labels[:, (share > 0) & (share < 1)]
            n = labels.shape[1]
            if n == 0:
                raise NothingRecordedError("All recorded sequences have the same labels.")
        return replace(self, labels=labels, n_classes=n)

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """The labels, handed out anew at random."""
        return self.labels[torch.randperm(len(self.labels), generator=generator)]

    def counts(self) -> Any:
        """(texts, vocabulary_size), occurrences of each word, a sparse matrix of scipy."""
        from scipy.sparse import csr_matrix

        lengths = torch.tensor([len(w) for w in self.words])
        text = torch.arange(len(self.words)).repeat_interleave(lengths).numpy()
        words = torch.cat(self.words).numpy()
        shape = (len(self.words), self.vocabulary_size)
        return csr_matrix((np.ones(len(words)), (text, words)), shape=shape)


def _width(rec: Recording, n_logits: int | None) -> int:
    """Classes there can be: by name, by logits, or as many as the largest label asks for."""
    if rec.meta.classes is not None:
        return max(len(rec.meta.classes), n_logits or 0)
    assert rec.labels is not None
    known = rec.labels[rec.labels != IGNORED]
    largest = int(known.max()) if known.numel() and not known.is_floating_point() else 0
    return max(largest + 1, n_logits or 0, 2)
