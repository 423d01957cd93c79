"""The same on real text: train on a labelled file, attach, analyse, compare with word counts."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from dynprobe.dimension.spectrum import centred_spectrum
from dynprobe.geometry.word_counts import class_word_frequencies
from dynprobe.nn import RNNClassifier
from dynprobe.probe import attach
from dynprobe.report import Report
from dynprobe.study.bag_of_words import bag_of_words
from dynprobe.study.evaluate import evaluate
from dynprobe.study.stage import Stage, quiet, told
from dynprobe.study.train_text import train_text
from dynprobe.tasks import text

#: Documents of the test part that are recorded and analysed (Aitken et al. 2020 use 256).
DOCUMENTS = 512


@dataclass(frozen=True)
class TextModel:
    """Sizes of the classifier; the defaults are those that the AG News figures were made with."""

    cell: str = "gru"
    hidden_size: int = 128
    embedding_size: int = 128
    dropout: float = 0.5
    epochs: int = 4
    learning_rate: float = 2e-3
    l2: float = 1e-4


def run_text(
    path: str | os.PathLike[str],
    *,
    model: TextModel | None = None,
    text_column: str = "text",
    label_column: str = "label",
    seed: int = 0,
    progress: Stage = quiet,
) -> Report:
    """Train a recurrent classifier on labelled text, keep its best epoch, and analyse it.

    Parameters
    ----------
    path : path
        A CSV or TSV file, or a folder with train, test and validation files; see
        :func:`dynprobe.tasks.text`.
    model : TextModel, optional
        Sizes and training of the classifier.
    text_column, label_column : str
        Names in the file's header.
    seed : int
        Seed of weights, order of texts, dropout and analysis.
    progress : callable
        ``progress(stage, done, total)``.

    Raises
    ------
    DataError
        If the file cannot be read as labelled text; says where and what to do.
    """
    sizes = model or TextModel()
    task = text(os.fspath(path), text_column=text_column, label_column=label_column, seed=seed)
    network = RNNClassifier(
        len(task.vocabulary),
        task.n_classes,
        cell=sizes.cell,
        hidden_size=sizes.hidden_size,
        embedding_size=sizes.embedding_size,
        dropout=sizes.dropout,
        generator=torch.Generator().manual_seed(seed),
        padding_idx=task.padding_idx,
    )
    log = train_text(
        network,
        task,
        epochs=sizes.epochs,
        learning_rate=sizes.learning_rate,
        l2=sizes.l2,
        seed=seed,
        progress=told(progress, "training"),
    )
    network.eval()
    progress("word counts", 0, 1)
    words = bag_of_words(task)
    training, test = task.split("train"), task.split("test")
    predicted = centred_spectrum(
        class_word_frequencies(
            training.tokens, training.labels, len(task.vocabulary), task.n_classes
        )
    )
    progress("word counts", 1, 1)
    accuracy = evaluate(network, test.batches(128))
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:DOCUMENTS]
    with (
        attach(network, vocabulary=task.vocabulary, classes=task.class_names) as probe,
        torch.no_grad(),
    ):
        for rows in order.split(128):
            batch = test.batch(rows)
            network(batch.tokens, batch.lengths)
    probe.recording().annotate(labels=test.labels[order])
    report = probe.analyze(
        seed=seed, progress=lambda name, _, done, total: progress(name, done, total)
    )
    best = "-" if log.best_epoch is None else str(log.best_epoch + 1)
    report.details |= {
        "data": (
            f"{task.name}: {len(training):,} training, {len(task.split('validation')):,} "
            f"validation, {len(test):,} test texts; {task.n_classes} classes"
        ),
        "words": f"the {len(task.vocabulary):,} most frequent; {task.n_cut} texts cut",
        "model": (
            f"{sizes.cell.upper()}, {sizes.hidden_size} units, embedding {sizes.embedding_size}, "
            f"dropout {sizes.dropout:g} on it"
        ),
        "training": (
            f"best of {len(log.validation_accuracy)} epochs by validation: epoch {best}; Adam, "
            f"rate {sizes.learning_rate:g}, L2 {sizes.l2:g} on the recurrent parameters; "
            f"{log.seconds:.0f} s"
        ),
        "test accuracy": f"{accuracy:.4f}",
        "bag of words, same split": f"{words.accuracy['test']:.4f} (logistic regression)",
        "dimension predicted by word counts": (
            f"{predicted.n_components_95} components for 95 % (participation ratio "
            f"{predicted.participation_ratio:.2f}); N - 1 = {task.n_classes - 1}"
        ),
        "analysed": f"{len(order)} test texts, every state",
        "seed": str(seed),
    }
    return report
