"""The dimension that word counts predict, before any network is looked at."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.recorded_texts import Texts
from dynprobe.analyzers.results import Result
from dynprobe.dimension.spectrum import Spectrum, centred_spectrum
from dynprobe.geometry.word_counts import class_word_frequencies


@dataclass(frozen=True)
class WordCountsResult(Result):
    """PCA of the classes' mean word frequencies, beside shuffled labels.

    Attributes
    ----------
    spectrum : Spectrum
        Shares, participation ratio and components for 95 % of the variance.
    n_significant : int
        Components with more variance than the largest of any null: what counts predict.
    variance : float
        Total variance over that of the nulls (their mean): near 1, word counts do not tell the
        classes apart.
    n_nulls : int
        How often labels were shuffled.
    n_texts : int
        Labelled sequences.
    """

    spectrum: Spectrum
    n_significant: int
    variance: float
    n_nulls: int
    n_texts: int

    def summary(self) -> list[tuple[str, str]]:
        """Rows of a report."""
        s = self.spectrum
        return [
            (
                "dimension predicted by word counts",
                f"participation ratio {s.participation_ratio:.2f}, {s.n_components_95} components "
                f"for 95 %, {self.n_significant} above every one of {self.n_nulls} nulls",
            ),
            ("variance between classes", f"{self.variance:.1f} times that of shuffled labels"),
        ]


class WordCounts(Analyzer):
    """Latent-semantic prediction from the recorded tokens; Aitken et al. 2020, section 4.1.

    Parameters
    ----------
    n_nulls : int
        Shuffles of the labels.
    """

    name = "word_counts"
    requires = frozenset({"tokens", "labels"})

    def __init__(self, n_nulls: int = 20) -> None:
        if n_nulls < 1:
            raise ValueError(f"n_nulls is {n_nulls}; shuffle at least once.")
        self.n_nulls = n_nulls

    def analyze(self, ctx: Context) -> WordCountsResult:
        texts = Texts.of(ctx.recording).that_occur()

        def points(labels: torch.Tensor) -> torch.Tensor:
            found = class_word_frequencies(
                texts.words, labels, texts.vocabulary_size, texts.n_classes
            )
            return found - found.mean(0)

        real = points(texts.labels)
        generator = torch.Generator().manual_seed(ctx.seed)
        nulls = [
            torch.linalg.svdvals(points(texts.shuffled(generator))).square()
            for _ in range(self.n_nulls)
        ]
        variances = torch.linalg.svdvals(real).square()
        largest = max(float(null.max()) for null in nulls)
        total = sum(float(null.sum()) for null in nulls) / len(nulls)
        return WordCountsResult(
            spectrum=centred_spectrum(real),
            n_significant=int((variances > largest).sum()),
            variance=float(variances.sum()) / total if total > 0 else float("inf"),
            n_nulls=self.n_nulls,
            n_texts=len(texts.words),
        )
