"""How far a classifier gets that sees which words a text holds, but not their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from dynprobe.dimension.spectrum import Spectrum, centred_spectrum
from dynprobe.tasks.text import TextTask


@dataclass(frozen=True, eq=False)
class BagOfWords:
    """A logistic regression on weighted word counts.

    Attributes
    ----------
    accuracy
        Accuracy by part: ``"train"``, ``"validation"``, ``"test"``; parts without texts are left
        out.
    word_logits
        What the first occurrence of a word adds to the logits, up to the text's normalisation,
        float64, ``(words seen in training, n_classes)``, words in order of their ids.
    spectrum
        PCA of `word_logits`, each word weighing as often as it occurs in training: the dimensions
        that a bag-of-words model predicts (Aitken et al. 2020, arXiv 2010.15114).
    """

    accuracy: dict[str, float]
    word_logits: Tensor
    spectrum: Spectrum

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, ready for JSON, without `word_logits`."""
        return {"accuracy": dict(self.accuracy), "spectrum": self.spectrum.to_dict()}


def bag_of_words(task: TextTask, *, regularisation: float = 1.0) -> BagOfWords:
    """Train a logistic regression on tf-idf weights of `task`'s tokens.

    It sees what a network sees: the same training part, vocabulary and cut.

    Parameters
    ----------
    task
        The data set.
    regularisation
        scikit-learn's ``C``, the inverse strength of the L2 penalty.

    Returns
    -------
    BagOfWords
        Accuracies and word weights. Nothing in the fit is random.
    """
    weighting = TfidfVectorizer(analyzer=_ids, sublinear_tf=True)
    training = task.split("train")
    features = weighting.fit_transform(_documents(training.tokens))
    model = LogisticRegression(C=regularisation, max_iter=1000)
    model.fit(features, training.labels.numpy())
    accuracy = {
        name: float(
            model.score(weighting.transform(_documents(split.tokens)), split.labels.numpy())
        )
        for name, split in task.splits.items()
        if len(split)
    }
    weights = np.asarray(model.coef_, dtype=np.float64)
    if len(weights) == 1:
        # Two classes: scikit-learn keeps one column, the log-odds of the second.
        weights = np.concatenate([-weights / 2, weights / 2])
    word_logits = torch.from_numpy((weights * weighting.idf_).T.copy())
    seen = torch.cat(list(training.tokens)).bincount()
    often = seen[torch.from_numpy(weighting.get_feature_names_out().astype(np.int64))]
    return BagOfWords(accuracy, word_logits, centred_spectrum(word_logits, often))


def _documents(tokens: Sequence[Tensor]) -> list[list[int]]:
    return [sequence.tolist() for sequence in tokens]


def _ids(document: list[int]) -> list[int]:
    return document
