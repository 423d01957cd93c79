"""The number of dimensions that word counts alone predict."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynprobe.study.spectrum import Spectrum, centred_spectrum


def latent_semantic_dimension(
    tokens: Sequence[Tensor] | Tensor, labels: Tensor, vocabulary_size: int, n_classes: int
) -> Spectrum:
    """Predict the dimension of a network's states from word counts.

    PCA of the classes' mean word-frequency vectors about their common mean; the number of
    significant components is the prediction (Aitken et al. 2020, arXiv 2010.15114).

    Parameters
    ----------
    tokens
        Word ids of each text without padding, int64, ``(words_i,)`` each with at least one word.
    labels
        Class indices, int64, ``(texts,)``.
    vocabulary_size
        Number of words.
    n_classes
        Number of classes, each with at least one text.

    Returns
    -------
    Spectrum
        With `n_classes` components, the last of which is zero, or `vocabulary_size` if less.

    Raises
    ------
    ValueError
        If labels and texts differ in number, a text is empty, or a class has no text.
    """
    if len(tokens) != len(labels):
        raise ValueError(f"There are {len(tokens)} texts and {len(labels)} labels. Pass one each.")
    texts_of_class = torch.bincount(labels, minlength=n_classes)
    if len(texts_of_class) > n_classes or bool((texts_of_class == 0).any()):
        raise ValueError(
            f"The numbers of texts by class are {texts_of_class.tolist()} for n_classes="
            f"{n_classes}. Pass labels from 0 to n_classes - 1 that all occur."
        )
    lengths = torch.tensor([len(text) for text in tokens])
    if bool((lengths == 0).any()):
        empty = int((lengths == 0).nonzero()[0])
        raise ValueError(f"Text {empty} has no words, so no word frequencies. Leave it out.")
    # Each text weighs 1 whatever its length: an occurrence counts 1 / length.
    places = labels.repeat_interleave(lengths) * vocabulary_size + torch.cat(list(tokens))
    weights = lengths.double().reciprocal().repeat_interleave(lengths)
    sums = torch.bincount(places, weights, minlength=n_classes * vocabulary_size)
    means = sums.view(n_classes, vocabulary_size) / texts_of_class[:, None]
    return centred_spectrum(means)
