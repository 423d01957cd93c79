"""What bags of words predict on AG News, the one row of the table on real text."""

from __future__ import annotations

from pathlib import Path

from dynprobe.dimension import components_for
from dynprobe.dimension.spectrum import Spectrum
from dynprobe.study.bag_of_words import bag_of_words
from dynprobe.study.reproduce.rows import Row
from dynprobe.study.stage import Stage, told
from dynprobe.study.summed_embeddings import PENALTY, WIDTH, WORDS, summed_embeddings
from dynprobe.tasks import text

#: Task of the rows, and their models: the authors' classifier and the survey's baseline.
NEWS, SUMMED, REGRESSION = "ag_news", "summed embeddings", "bag of words"
BAGS = (SUMMED, REGRESSION)
#: Training steps of the authors' classifier, three epochs of their 120,000 texts.
STEPS = 5250
SEEDS = (0, 1, 2)


def news_rows(folder: Path, progress: Stage) -> list[Row]:
    """Shares of the components of what a word adds to the logits, of both classifiers."""
    task = text(folder)
    fitted = bag_of_words(task)
    rows = [
        Row(NEWS, task.n_classes, REGRESSION, 0, 0, 0.0, 0, 0, fitted.accuracy["test"], *number)
        for number in _numbers(fitted.spectrum)
    ]
    for seed in SEEDS:
        stage = told(progress, f"training a bag of words, seed {seed}")
        found = summed_embeddings(task, steps=STEPS, seed=seed, progress=stage)
        setting = (NEWS, task.n_classes, SUMMED, WIDTH, WORDS, PENALTY, seed, STEPS)
        rows += [Row(*setting, found.accuracy, *n) for n in _numbers(found.spectrum)]
    return rows


def _numbers(spectrum: Spectrum) -> list[tuple[str, float]]:
    shares = spectrum.variance_ratios
    return [
        *((f"variance share {i + 1}", float(v)) for i, v in enumerate(shares[:4])),
        ("components for 95 %", float(components_for(shares, 0.95))),
        ("participation ratio", spectrum.participation_ratio),
    ]
