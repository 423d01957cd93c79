"""What a classifier that sees counts only makes of the recorded texts, beside the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.recorded_texts import Texts
from dynprobe.analyzers.results import Result
from dynprobe.dimension.spectrum import Spectrum, centred_spectrum
from dynprobe.geometry.word_counts import word_agreement
from dynprobe.readout import Readout
from dynprobe.recording import Recording

#: Words that occur less often do not take part in the comparison with the network.
LEAST = 5


@dataclass(frozen=True)
class BagOfWordsResult(Result):
    """A logistic regression on word counts, and the words' pushes in the network.

    Attributes
    ----------
    accuracy : float
        Of the regression, on texts it was not fitted to (three folds).
    spectrum : Spectrum
        PCA of what an occurrence of each word adds to the logits: the predicted dimension
        (Aitken et al. 2020, arXiv 2010.15114).
    agreement : float
        Cosine between these and what each word adds to the network's logits, the readout times
        its mean deflection, over words weighted by their occurrences and up to a common shift of a
        word's logits; NaN without a readout.
    null : float
        The largest absolute cosine of 100 runs with the words in other places.
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
            ("accuracy of a bag of words", f"{self.accuracy:.3f} (three folds)"),
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
                    f"{angle:.0f}° apart over {self.n_words} words (cosine {self.agreement:.2f}; "
                    f"words exchanged at most {self.null:.2f})",
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
        texts = Texts.of(ctx.recording)
        counts = texts.counts()
        weights, accuracy = _fit(counts, texts, self.regularisation)
        seen = torch.from_numpy(counts.getnnz(axis=0)).nonzero().flatten()
        agreement, null, n_words = float("nan"), float("nan"), 0
        if ctx.has("readout") and ctx.has("states") and ctx.readout.n_classes > 1:
            words, pushes, occurrences = _pushes(ctx.recording, ctx.readout)
            n_words = len(words)
            if n_words > 1:
                agreement, null = word_agreement(weights[words], pushes, occurrences, seed=ctx.seed)
        return BagOfWordsResult(
            accuracy=accuracy,
            spectrum=centred_spectrum(weights[seen]),
            agreement=agreement,
            null=null,
            n_words=n_words,
        )


def _fit(counts: Any, texts: Texts, regularisation: float) -> tuple[Tensor, float]:
    """Logit change of each word, (words, classes), and the accuracy on held-out texts."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.multiclass import OneVsRestClassifier

    y = texts.labels.numpy()
    # of unit mean square, so that the penalty means the same for texts of any length
    scale = float(np.sqrt(counts.multiply(counts).sum() / counts.shape[0]))
    x = counts / scale
    model: Any = LogisticRegression(C=regularisation, max_iter=2000)
    if y.ndim == 2:
        model = OneVsRestClassifier(model)
    accuracy = float(cross_val_score(model, x, y, cv=3).mean())
    fitted = model.fit(x, y)
    if y.ndim == 2:
        coefficients = np.concatenate([one.coef_ for one in fitted.estimators_])
    else:
        coefficients = fitted.coef_
        if len(coefficients) == 1:  # two classes: scikit-learn keeps the log-odds of the second
            coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
    weights = np.asarray(coefficients, dtype=np.float64).T / scale
    if y.ndim == 2 or len(fitted.classes_) == texts.n_classes:
        return torch.from_numpy(weights.copy()), accuracy
    whole = torch.zeros(len(weights), texts.n_classes, dtype=torch.float64)
    whole[:, torch.from_numpy(fitted.classes_)] = torch.from_numpy(weights.copy())
    return whole, accuracy


def _pushes(rec: Recording, readout: Readout) -> tuple[Tensor, Tensor, Tensor]:
    """Of frequent words: ids, the mean change of the logits (words, classes), occurrences."""
    assert rec.tokens is not None
    mask = rec.mask.clone()
    if rec.initial is None:  # then nobody knows how far the first token moved the state
        mask[:, 0] = False
    steps = (rec.states - rec.before)[mask].to("cpu", torch.float64)
    words = rec.tokens.to(mask.device)[mask].cpu()
    ids, index, counts = words.unique(return_inverse=True, return_counts=True)
    change = steps @ readout.weight.detach().to("cpu", torch.float64).T
    sums = torch.zeros(len(ids), change.shape[1], dtype=torch.float64).index_add_(0, index, change)
    often = counts >= LEAST
    return ids[often], (sums / counts[:, None])[often], counts[often]
