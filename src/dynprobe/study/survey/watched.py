"""A trained network that ran over test sequences: its memories, its stream, what it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynprobe.capture.stream import Stream
from dynprobe.comparison.sides import Side, side_of
from dynprobe.probe import attach
from dynprobe.recording import Recording
from dynprobe.study.bag_of_words import bag_of_words
from dynprobe.study.evaluate import evaluate, mean_loss
from dynprobe.study.survey.horizon import Exchanges, evidence_exchanges
from dynprobe.study.survey.settings import Counted
from dynprobe.tasks import Batch, TextTask

#: Sequences that are recorded, that accuracy is measured on, and that settings are chosen by.
SEQUENCES, TEST, VALIDATION = 300, 2000, 2000
#: A word of a text is asked for its part in the variance, or exchanged, if it is in this many.
OFTEN = 20


@dataclass(frozen=True)
class Material:
    """What networks of one task are measured on.

    Attributes
    ----------
    task : Counted or TextTask
        The task.
    batch : Batch
        Sequences that are recorded.
    test, validation : list of Batch
        Sequences never trained on, for accuracy and for the choice of settings.
    evidence : Tensor
        (words, n_scores), what each word adds: the task's own, or a bag of words' logits.
    exchanges : Exchanges
        Words that speak for different answers.
    probe_words : list of int
        The neutral word first, then others for the spread.
    """

    task: Counted | TextTask
    batch: Batch
    test: list[Batch]
    validation: list[Batch]
    evidence: Tensor
    exchanges: Exchanges
    probe_words: list[int]

    @property
    def several(self) -> bool:
        """Whether several labels may hold at once."""
        return self.batch.labels.dim() == 2


def material(task: Counted | TextTask, *, sequences: int = SEQUENCES) -> Material:
    """Draw what all networks of a task are measured on: the same for every model and seed."""
    if isinstance(task, TextTask):
        return _of_text(task, sequences)
    evidence = task.evidence
    size = evidence.abs().sum(1)
    padding = 0 if task.padding_idx is None else 1
    neutral = int(size[padding:].argmin()) + padding
    others = [i for i in range(padding, len(evidence)) if i != neutral]
    return Material(
        task,
        task.sample(sequences, seed=2_000_003),
        [task.sample(TEST, seed=1_000_003)],
        [task.sample(VALIDATION, seed=4_000_037)],
        evidence,
        evidence_exchanges(evidence, task.n_classes),
        [neutral, *others],
    )


def _of_text(task: TextTask, sequences: int) -> Material:
    weights = torch.zeros(len(task.vocabulary), task.n_classes, dtype=torch.float64)
    found = bag_of_words(task).word_logits
    counts = torch.cat(task.split("train").tokens).bincount(minlength=len(task.vocabulary))
    # word_logits has a row for each word that the bag of words knows, in order of their ids
    weights[(counts > 0).nonzero().flatten()] = found
    test = task.split("test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:sequences]
    telling = weights - weights.mean(1, keepdim=True)
    telling = telling.masked_fill((counts < OFTEN)[:, None], 0.0)
    common = counts.argsort(descending=True)
    common = common[common > 1][:100]  # neither padding nor the unknown word
    common = common[telling[common].norm(dim=1).argsort()]
    return Material(
        task,
        test.batch(order),
        list(test.batches(128)),
        list(task.split("validation").batches(128)),
        weights,
        evidence_exchanges(telling.clamp(min=0), task.n_classes),
        common[:4].tolist(),
    )


@dataclass(frozen=True)
class Watched:
    """A network that ran over a batch.

    Attributes
    ----------
    model : nn.Module
        In evaluation mode.
    given : Material
        What it was shown.
    sides : list of Side
        One for each of its recurrences, the lowest first.
    accuracy : float
        On test sequences.
    loss, validation_accuracy : float
        On validation sequences, the loss without penalty.
    """

    model: nn.Module
    given: Material
    sides: list[Side]
    accuracy: float
    loss: float
    validation_accuracy: float

    @property
    def stream(self) -> Recording:
        """What the classifier reads."""
        found = self.sides[-1].stream
        assert isinstance(found, Recording), found
        return found


def watch(model: nn.Module, given: Material) -> Watched:
    """Run a network over the sequences of its task."""
    model.eval()
    return Watched(
        model,
        given,
        record(model, given.batch, given.task),
        evaluate(model, given.test),
        mean_loss(model, given.validation),
        evaluate(model, given.validation),
    )


@torch.no_grad()
def record(model: nn.Module, batch: Batch, task: Counted | TextTask) -> list[Side]:
    """Run over one batch, watched; a side for each recurrence."""
    names: Sequence[str] = task.class_names
    with (
        attach(model, vocabulary=task.vocabulary, classes=names) as probe,
        Stream(model) as stream,
    ):
        model(batch.tokens, batch.lengths)
    sides = []
    for layer in probe.layers:
        memory = probe.recording(layer.key)
        memory.annotate(labels=batch.labels)
        if memory.tokens is None:
            memory.annotate(tokens=batch.tokens)
        if memory.has_factors:
            memory.form_states("2 GiB")
        sides.append(side_of(layer.key, (probe, stream), layer.key))
    return sides
