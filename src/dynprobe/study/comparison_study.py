"""Train models of several kinds on one task, record them on the same sequences, compare."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dynprobe.capture.stream import Stream
from dynprobe.comparison.run import compare
from dynprobe.probe import Probe, attach
from dynprobe.report.comparison import Comparison
from dynprobe.study.demo import PHRASES, TEST_PHRASES
from dynprobe.study.evaluate import evaluate
from dynprobe.study.models import build_model, check_kind
from dynprobe.study.recipes import RECIPES, TEXT_RECIPES
from dynprobe.study.stage import Stage, quiet, told
from dynprobe.study.text_study import DOCUMENTS
from dynprobe.tasks import categorical, text
from dynprobe.tasks.batch import Batch

Recorded = tuple[Probe, Stream]


def compare_on_counting(
    kinds: Sequence[str],
    *,
    n_classes: int = 3,
    length: int = 50,
    steps: int | None = None,
    seed: int = 0,
    progress: Stage = quiet,
) -> Comparison:
    """Compare kinds of models on the counting task, each trained by its own recipe.

    Parameters
    ----------
    kinds : sequence of str
        Of :class:`dynprobe.study.kinds.Kind`, at least two. One that is given again is trained
        with the next seed: how much two runs of the same kind differ.
    n_classes, length : int
        Of the task, see :func:`dynprobe.tasks.categorical`.
    steps : int, optional
        Training steps of every model, instead of its recipe's.
    seed : int
        Seed of weights, data and analysis.
    progress : callable
        ``progress(stage, done, total)``.

    Raises
    ------
    UnknownNameError
        For an unknown kind, before anything is trained.
    """
    named = list(_named(kinds, seed))
    task = categorical(n_classes, length)
    phrases = task.sample(PHRASES, seed=seed + 2_000_003)
    test = task.sample(TEST_PHRASES, seed=seed + 1_000_003)
    models: dict[str, Recorded] = {}
    details: dict[str, dict[str, str]] = {}
    for name, kind, own in named:
        recipe = RECIPES[kind]
        model = build_model(
            kind, len(task.vocabulary), n_classes, hidden_size=recipe.hidden_size, seed=own
        )
        log = recipe.train(
            model, task, steps=steps, seed=own, progress=told(progress, f"training {name}")
        )
        accuracy = evaluate(model, [test])
        models[name] = _record(model, [phrases], task.vocabulary, task.class_names)
        details[name] = {
            "task": f"{task.name}: {length} words",
            "training": recipe.describe(log),
            "test accuracy": f"{accuracy:.4f} on {TEST_PHRASES:,} fresh phrases",
            "seed": str(own),
        }
    return compare(models, details=details, seed=seed, progress=progress)


def compare_on_text(
    kinds: Sequence[str],
    path: str | os.PathLike[str],
    *,
    text_column: str = "text",
    label_column: str = "label",
    epochs: int | None = None,
    seed: int = 0,
    progress: Stage = quiet,
) -> Comparison:
    """The same on labelled text, see :func:`dynprobe.tasks.text`; test texts are compared.

    Raises
    ------
    DataError
        If the file cannot be read as labelled text.
    UnknownNameError
        For an unknown kind.
    """
    named = list(_named(kinds, seed))
    task = text(os.fspath(path), text_column=text_column, label_column=label_column, seed=seed)
    test = task.split("test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))[:DOCUMENTS]
    models: dict[str, Recorded] = {}
    details: dict[str, dict[str, str]] = {}
    for name, kind, own in named:
        recipe = TEXT_RECIPES[kind]
        if epochs is not None:
            recipe = replace(recipe, epochs=epochs)
        model = build_model(
            kind,
            len(task.vocabulary),
            task.n_classes,
            hidden_size=recipe.hidden_size,
            embedding_size=recipe.embedding_size,
            dropout=recipe.dropout,
            padding_idx=task.padding_idx,
            seed=own,
        )
        log = recipe.train(model, task, seed=own, progress=told(progress, f"training {name}"))
        accuracy = evaluate(model, test.batches(128))
        batches = [test.batch(rows) for rows in order.split(128)]
        models[name] = _record(model, batches, task.vocabulary, task.class_names)
        details[name] = {
            "data": (
                f"{task.name}: {len(task.split('train')):,} training texts, {task.n_classes} "
                f"classes, the {len(task.vocabulary):,} most frequent words"
            ),
            "training": recipe.describe(log),
            "test accuracy": f"{accuracy:.4f} on {len(test):,} texts",
            "seed": str(own),
        }
    return compare(models, details=details, seed=seed, progress=progress)


def _named(kinds: Sequence[str], seed: int) -> Iterator[tuple[str, str, int]]:
    """Name, kind and seed of each model."""
    for kind in kinds:
        check_kind(kind)
    for i, kind in enumerate(kinds):
        before = list(kinds[:i]).count(kind)
        yield (kind if not before else f"{kind} {before + 1}"), kind, seed + before


def _record(
    model: nn.Module, batches: Iterable[Batch], vocabulary: Sequence[str], classes: Sequence[str]
) -> Recorded:
    """Run over all batches once, watched."""
    model.eval()
    labels: list[Tensor] = []
    with (
        attach(model, vocabulary=vocabulary, classes=classes) as probe,
        Stream(model) as stream,
        torch.no_grad(),
    ):
        for batch in batches:
            model(batch.tokens, batch.lengths)
            labels.append(batch.labels)
    for layer in probe.layers:
        probe.recording(layer.key).annotate(labels=torch.cat(labels))
    return probe, stream
