"""Word counts of labelled texts as points: what separates the classes before any network does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_word_frequencies(
    texts: Sequence[Tensor], labels: Tensor, vocabulary_size: int, n_classes: int
) -> Tensor:
    """Mean word-frequency vector of each class.

    The number of significant principal components of these points is the dimension that word
    counts predict for a network's states (latent-semantic prediction; Aitken et al. 2020, arXiv
    2010.15114).

    Parameters
    ----------
    texts
        Word ids of each text without padding, int64, ``(words_i,)`` each with at least one word.
    labels
        Class indices, int64, ``(texts,)``; or of several labels a text may have at once, bool,
        ``(texts, n_classes)``.
    vocabulary_size
        Number of words.
    n_classes
        Number of classes or labels, each with at least one text; of labels that go together, each
        with at least one text without it, too.

    Returns
    -------
    Tensor
        Float64, ``(n_classes, vocabulary_size)``. Each text weighs the same, whatever its length.
        Of labels, two points for each: half the difference between the mean with and without it,
        and its opposite, so that what the labels have in common is no dimension;
        ``(2 n_classes, vocabulary_size)``.

    Raises
    ------
    ValueError
        If labels and texts differ in number, a text is empty, or a class has no text.
    """
    if len(texts) != len(labels):
        raise ValueError(f"There are {len(texts)} texts and {len(labels)} labels. Pass one each.")
    lengths = torch.tensor([len(text) for text in texts])
    if bool((lengths == 0).any()):
        empty = int((lengths == 0).nonzero()[0])
        raise ValueError(f"Text {empty} has no words, so no word frequencies. Leave it out.")
    text = torch.arange(len(texts)).repeat_interleave(lengths)
    words = torch.cat(list(texts))
    # each text weighs 1 whatever its length: an occurrence counts 1 / length
    weights = lengths.double().reciprocal()[text]

    def mean(member: Tensor) -> Tensor:
        """Mean frequencies of the texts that are members, (vocabulary_size,)."""
        sums = torch.bincount(words, weights * member[text], minlength=vocabulary_size)
        return sums / member.sum()

    if labels.dim() == 1:
        count = torch.bincount(labels, minlength=n_classes)
        if len(count) != n_classes or bool((count == 0).any()):
            raise ValueError(
                f"The numbers of texts by class are {count.tolist()} for n_classes={n_classes}. "
                "Pass labels from 0 to n_classes - 1 that all occur."
            )
        return torch.stack([mean((labels == k).double()) for k in range(n_classes)])
    has = labels.double()
    for which, count in (("with", has.sum(0)), ("without", (1 - has).sum(0))):
        if len(count) != n_classes or bool((count == 0).any()):
            raise ValueError(
                f"The numbers of texts {which} each label are {count.long().tolist()} for "
                f"n_classes={n_classes}. Pass labels that some texts have and some have not."
            )
    half = torch.stack([mean(column) - mean(1 - column) for column in has.T]) / 2
    return torch.cat([half, -half])


def word_agreement(a: Tensor, b: Tensor, counts: Tensor, *, seed: int) -> tuple[float, float]:
    """How alike two tables of what each word adds to each class's logit are.

    Parameters
    ----------
    a, b
        ``(words, classes)``; what is common to all classes of a word is taken out, since no
        softmax sees it.
    counts
        Occurrences of each word, ``(words,)``: its weight.
    seed
        Of the null, in which the words of one table change places.

    Returns
    -------
    tuple of float
        The cosine of the two tables as vectors, centred over words, and the largest absolute
        cosine of 100 such nulls.
    """
    weights = (counts.double() / counts.sum()).sqrt()[:, None]

    def vector(table: Tensor) -> Tensor:
        x = table.double()
        if x.shape[1] > 1:
            x = x - x.mean(1, keepdim=True)
        centred: Tensor = x - weights.square().T @ x
        return centred

    def cosine(x: Tensor, y: Tensor) -> float:
        x, y = weights * x, weights * y
        return float((x * y).sum() / (x.norm() * y.norm()))

    x, y = vector(a), vector(b)
    generator = torch.Generator().manual_seed(seed)
    nulls = [abs(cosine(x, y[torch.randperm(len(y), generator=generator)])) for _ in range(100)]
    return cosine(x, y), max(nulls)
