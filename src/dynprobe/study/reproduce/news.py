"""What bags of words predict on AG News, the one row of the table on real text."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from dynprobe.dimension import components_for
from dynprobe.dimension.spectrum import Spectrum
from dynprobe.study.bag_of_words import bag_of_words
from dynprobe.study.reproduce.rows import Row
from dynprobe.study.stage import Stage, told
from dynprobe.study.summed_embeddings import PENALTY, WIDTH, summed_embeddings
from dynprobe.tasks import text

#: Task of the rows, and their models: the authors' classifier and the survey's baseline.
NEWS, SUMMED, REGRESSION = "ag_news", "summed embeddings", "bag of words"
#: Of the authors' classifier: words of the longest text, training steps (about three epochs of
#: theirs), seeds.
WORDS, STEPS, SEEDS = 50, 5250, (0, 1, 2)
#: Model, seed and steps of what there is to be.
PLANNED = ((REGRESSION, 0, 0), *((SUMMED, seed, STEPS) for seed in SEEDS))


def news_rows(
    folder: Path, there: Collection[tuple[str, int, int]], progress: Stage
) -> Iterator[list[Row]]:
    """Shares of the components of what a word adds to the logits, one classifier after the other.

    Parameters
    ----------
    folder
        Of AG News.
    there
        Of :data:`PLANNED`, what is not needed any more.
    progress
        ``progress(stage, done, total)``.
    """
    missing = [planned for planned in PLANNED if planned not in there]
    if any(model == REGRESSION for model, _, _ in missing):
        task = text(folder)
        fitted = bag_of_words(task)
        setting = (NEWS, task.n_classes, REGRESSION, 0, 0, 0.0, 0, 0, fitted.accuracy["test"])
        yield [Row(*setting, *number) for number in _numbers(fitted.spectrum)]
    trained = [(seed, steps) for model, seed, steps in missing if model == SUMMED]
    if not trained:
        return
    task = text(folder, max_length=WORDS, overlong="drop")
    for seed, steps in trained:
        stage = told(progress, f"training a bag of words, seed {seed}")
        found = summed_embeddings(task, steps=steps, seed=seed, progress=stage)
        network = (NEWS, task.n_classes, SUMMED, WIDTH, WORDS, PENALTY, seed, steps)
        yield [Row(*network, found.accuracy, *number) for number in _numbers(found.spectrum)]


def _numbers(spectrum: Spectrum) -> list[tuple[str, float]]:
    shares = spectrum.variance_ratios
    return [
        *((f"variance share {i + 1}", float(v)) for i, v in enumerate(shares[:4])),
        ("components for 95 %", float(components_for(shares, 0.95))),
        ("participation ratio", spectrum.participation_ratio),
    ]
