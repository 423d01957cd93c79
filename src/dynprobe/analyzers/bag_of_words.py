"""What a classifier that sees counts only makes of the recorded texts, beside the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.by_token import ByToken
from dynprobe.analyzers.recorded_texts import Texts
from dynprobe.analyzers.results import Result
from dynprobe.dimension.spectrum import Spectrum, centred_spectrum
from dynprobe.errors import NothingRecordedError
from dynprobe.geometry.word_counts import word_agreement
from dynprobe.readout import Readout
from dynprobe.recording import Recording

#: Words that occur less often do not take part in the comparison with the network.
LEAST = 5
FOLDS = 3


@dataclass(frozen=True)
class BagOfWordsResult(Result):
    """A logistic regression on word counts, and the words' pushes in the network.

    Attributes
    ----------
    accuracy : float
        Of the regression, on texts it was not fitted to (three folds); of several labels, the share
        of answers to each. NaN where a class has fewer texts than folds.
    spectrum : Spectrum
        PCA of what an occurrence of each word adds to the logits, each word weighing as often as it
        occurs: the predicted dimension (Aitken et al. 2020, arXiv 2010.15114). Rare words have
        small, noisy weights in every direction; counted once each they would drown the others.
    agreement : float
        Cosine between these and what each word adds to the network's logits, the readout times
        its mean deflection, over words weighted by their occurrences and up to a common shift of a
        word's logits; NaN without a readout.
    null : float
        The largest absolute cosine of 100 runs with the words in other places; NaN of fewer than 8
        words.
    n_words : int
        Words compared: those with at least 5 occurrences.
    """

    accuracy: float
    spectrum: Spectrum
    agreement: float
    null: float
    n_words: int

    def summary(self) -> list[tuple[str, str]]:
        """Rows of a report."""
        s = self.spectrum
        rows = [
            ("accuracy of a bag of words", f"{self.accuracy:.3f} (held-out thirds)"),
            (
                "dimension predicted by a bag of words",
                f"participation ratio {s.participation_ratio:.2f}, {s.n_components_95} components "
                "for 95 %",
            ),
        ]
        if self.n_words:
            angle = float(np.degrees(np.arccos(np.clip(self.agreement, -1, 1))))
            rows.append(
                (
                    "pushes of words, network and bag of words",
                    f"{angle:.0f}° apart over {self.n_words} words (cosine {self.agreement:.2f}"
                    + ("" if np.isnan(self.null) else f"; words exchanged at most {self.null:.2f}")
                    + ")",
                )
            )
        return rows


class BagOfWords(Analyzer):
    """Fit a bag of words to the recorded sequences.

    Parameters
    ----------
    regularisation : float
        scikit-learn's ``C``, the inverse strength of the L2 penalty.
    """

    name = "bag_of_words"
    requires = frozenset({"tokens", "labels"})

    def __init__(self, regularisation: float = 1.0) -> None:
        if not regularisation > 0:
            raise ValueError(f"regularisation is {regularisation}; it must be above 0.")
        self.regularisation = regularisation

    def analyze(self, ctx: Context) -> BagOfWordsResult:
        n_logits = ctx.readout.n_classes if ctx.has("readout") else None
        texts = Texts.of(ctx.recording, n_logits)
        counts = texts.counts()
        weights, accuracy = _fit(counts, texts, self.regularisation, ctx.seed)
        occurrences = torch.from_numpy(np.asarray(counts.sum(0)).ravel())
        agreement, null, n_words = float("nan"), float("nan"), 0
        if n_logits == weights.shape[1] and n_logits > 1 and ctx.has("states"):
            words, pushes, often = _pushes(ctx.recording, ctx.readout)
            n_words = len(words)
            if n_words > 1:
                agreement, null = word_agreement(weights[words], pushes, often, seed=ctx.seed)
        return BagOfWordsResult(
            accuracy=accuracy,
            spectrum=centred_spectrum(weights, occurrences),
            agreement=agreement,
            null=null,
            n_words=n_words,
        )


def _fit(counts: Any, texts: Texts, regularisation: float, seed: int) -> tuple[Tensor, float]:
    """Logit change of each word, (words, classes), and the accuracy on held-out texts.

    Classes and labels that all or no texts have keep zeros.
    """
    from sklearn.linear_model import LogisticRegression

    # of unit mean square, so that the penalty means the same for texts of any length
    scale = float(np.sqrt(counts.multiply(counts).sum() / counts.shape[0]))
    x = counts / scale
    weights = torch.zeros(texts.vocabulary_size, texts.n_classes, dtype=torch.float64)
    model = LogisticRegression(C=regularisation, max_iter=2000)
    if texts.labels.dim() == 1:
        y = texts.labels.numpy()
        classes = np.unique(y)
        if len(classes) < 2:
            raise NothingRecordedError("All recorded sequences have the same label.")
        found = model.fit(x, y).coef_
        if len(classes) == 2:  # scikit-learn keeps the log-odds of the second
            found = np.concatenate([-found / 2, found / 2])
        weights[:, torch.from_numpy(classes)] = torch.from_numpy(found.T / scale)
        return weights, _held_out(model, x, y, seed)
    scores = []
    for k in range(texts.n_classes):
        y = texts.labels[:, k].numpy()
        if y.all() or not y.any():
            continue
        weights[:, k] = torch.from_numpy(model.fit(x, y).coef_[0] / scale)
        scores.append(_held_out(model, x, y, seed))
    if not scores:
        raise NothingRecordedError("All recorded sequences have the same labels.")
    return weights, float(np.mean(scores))


def _held_out(model: Any, x: Any, y: Any, seed: int) -> float:
    """Accuracy over three folds in random order; NaN where a class is too small for them."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    if np.unique(y, return_counts=True)[1].min() < FOLDS:
        return float("nan")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return float(cross_val_score(model, x, y, cv=folds).mean())


def _pushes(rec: Recording, readout: Readout) -> tuple[Tensor, Tensor, Tensor]:
    """Of frequent words: ids, the mean change of the logits (words, classes), occurrences."""
    words = ByToken.of(rec)
    steps = words.mean(rec.states - rec.before)
    change = steps @ readout.weight.detach().to("cpu", torch.float64).T
    often = words.counts >= LEAST
    return words.ids[often], change[often], words.counts[often]
