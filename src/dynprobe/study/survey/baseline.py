"""What word counts alone give on a task: accuracy, and the dimension that they predict."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynprobe.analysis import analyze
from dynprobe.recording import Recording
from dynprobe.study.bag_of_words import bag_of_words
from dynprobe.study.survey.settings import Counted
from dynprobe.tasks import TextTask

#: The baseline's name among the models.
BASELINE = "bag of words"
#: Sequences of a counting task whose words are counted.
COUNTED = 6000


def baseline(task: Counted | TextTask) -> tuple[float, dict[str, float]]:
    """Fit a bag of words, and predict the dimension from the classes' word counts.

    Both predictions are those of Aitken et al. 2020 (arXiv 2010.15114): PCA of the classes' mean
    word frequencies, and of what an occurrence of each word adds to a bag of words' logits.

    Parameters
    ----------
    task
        Of a text, the training part is counted and the test part judged; of a counting task fresh
        sequences, judged by held-out thirds.

    Returns
    -------
    tuple
        Accuracy, and numbers by measure.
    """
    if isinstance(task, TextTask):
        training = task.split("train")
        report = analyze(_words(training.tokens, training.labels, task), ["word_counts"])
        found = bag_of_words(task)
        accuracy, spectrum = found.accuracy["test"], found.spectrum
    else:
        batch = task.sample(COUNTED, seed=5_000_011)
        words = _words(batch.sequences(), batch.labels, task)
        report = analyze(words, ["word_counts", "bag_of_words"])
        accuracy, spectrum = report["bag_of_words"].accuracy, report["bag_of_words"].spectrum
    counts = report["word_counts"]
    return accuracy, {
        "participation ratio predicted by word counts": counts.spectrum.participation_ratio,
        "components for 95 % predicted by word counts": float(counts.spectrum.n_components_95),
        "components of word counts above shuffled labels": float(counts.n_significant),
        "participation ratio predicted by a bag of words": spectrum.participation_ratio,
        "components for 95 % predicted by a bag of words": float(spectrum.n_components_95),
    }


def _words(texts: Sequence[Tensor], labels: Tensor, task: Counted | TextTask) -> Recording:
    """Texts as a recording: of words and labels alone, no network has states here."""
    tokens = torch.nn.utils.rnn.pad_sequence(list(texts), batch_first=True)
    return Recording.from_arrays(
        torch.zeros(*tokens.shape, 1),
        lengths=torch.tensor([len(text) for text in texts]),
        tokens=tokens,
        labels=labels,
        layer="words",
        vocabulary=task.vocabulary,
        classes=task.class_names,
    )
