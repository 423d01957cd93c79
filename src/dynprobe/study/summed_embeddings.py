"""A bag of words as a small network: embeddings of the words, their sum, a linear readout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding_bag

from dynprobe.dimension.spectrum import Spectrum, centred_spectrum
from dynprobe.study.log import Progress
from dynprobe.tasks.text import TextTask

#: As in the authors' notebook on AG News: width of an embedding, texts of a step, weight of the
#: penalty, rate and its decay.
WIDTH, BATCH, PENALTY = 32, 64, 1e-3
RATE, DECAY, DECAY_STEPS = 2e-3, 0.8, 1000


@dataclass(frozen=True, eq=False)
class SummedEmbeddings:
    """The classifier, trained.

    Attributes
    ----------
    accuracy
        On the test part.
    word_logits
        What an occurrence of a word adds to the logits, float64, ``(words seen in training,
        n_classes)``, words in order of their ids.
    spectrum
        PCA of `word_logits`, every word counting once.
    """

    accuracy: float
    word_logits: Tensor
    spectrum: Spectrum


def summed_embeddings(
    task: TextTask, *, steps: int, seed: int = 0, progress: Progress | None = None
) -> SummedEmbeddings:
    """Train logits = readout of the sum of embeddings, by the recipe of Aitken et al.'s notebook.

    Adam, rate 2e-3 x 0.8^(step / 1000), 64 texts a step, 1e-3 times the Euclidean norm of all
    parameters as penalty; embeddings start orthogonal (the bag-of-words notebook of
    github.com/google-research/reverse-engineering-neural-networks).

    Parameters
    ----------
    task
        The data set, with one label a text. The notebook leaves texts of more than 50 words out.
    steps
        Of training; the notebook's three epochs are about 5,250.
    seed
        Of initial weights and of the order of texts.
    progress
        Called after each step.

    Raises
    ------
    ValueError
        If the task has several labels a text, or no text to train or to test on.
    """
    training, test = task.split("train"), task.split("test")
    if training.labels.dim() != 1 or not len(training) or not len(test):
        raise ValueError(
            f"{task.name} has {len(training)} texts to train on, {len(test)} to test on and labels "
            f"of shape {tuple(training.labels.shape)}. Pass a task with both parts and one label "
            "a text."
        )
    generator = torch.Generator().manual_seed(seed)
    weight = nn.init.orthogonal_(torch.empty(len(task.vocabulary), WIDTH), generator=generator)
    readout = nn.init.xavier_normal_(torch.empty(WIDTH, task.n_classes), generator=generator)
    bias = 0.01 * torch.randn(task.n_classes, generator=generator)
    parameters = [p.requires_grad_() for p in (weight, readout, bias)]
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, DECAY ** (1 / DECAY_STEPS))
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(len(training), generator=generator)
        some, order = order[:BATCH], order[BATCH:]
        logits = _logits([training.tokens[i] for i in some.tolist()], weight, readout, bias)
        norm = torch.stack([p.square().sum() for p in parameters]).sum().sqrt()
        loss = cross_entropy(logits, training.labels[some]) + PENALTY * norm
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps, float(loss.detach()))
    with torch.no_grad():
        right = _logits(test.tokens, weight, readout, bias).argmax(1) == test.labels
        seen = torch.cat(list(training.tokens)).unique()
        word_logits = (weight @ readout)[seen].double()
    return SummedEmbeddings(float(right.float().mean()), word_logits, centred_spectrum(word_logits))


def _logits(texts: Sequence[Tensor], weight: Tensor, readout: Tensor, bias: Tensor) -> Tensor:
    starts = torch.tensor([0, *(len(tokens) for tokens in texts[:-1])]).cumsum(0)
    return embedding_bag(torch.cat(list(texts)), weight, starts, mode="sum") @ readout + bias
