"""Accuracy and loss of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from dynprobe.tasks.batch import Batch
from dynprobe.tasks.scoring import hits, losses


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> float:
    """Return the share of sequences that `model` classifies correctly.

    Parameters
    ----------
    model
        Called as ``model(tokens, lengths)``, gives logits ``(batch, n_classes)``. It is run in
        evaluation mode and handed back in the mode it came in.
    batches
        What to classify, at least one sequence.

    Raises
    ------
    ValueError
        If there is no sequence.
    """
    return _mean(model, batches, hits)


def mean_loss(model: nn.Module, batches: Iterable[Batch]) -> float:
    """Return the mean loss of sequences, without any penalty; otherwise as :func:`evaluate`."""
    return _mean(model, batches, losses)


@torch.no_grad()
def _mean(
    model: nn.Module, batches: Iterable[Batch], score: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """Mean over sequences of a score of their logits and labels."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    try:
        for batch in batches:
            logits = model(batch.tokens.to(device), batch.lengths.to(device))
            total += float(score(logits.cpu(), batch.labels.cpu()).sum(dtype=torch.float64))
            count += len(batch)
    finally:
        model.train(was_training)
    if count == 0:
        raise ValueError("There is no sequence to evaluate on. Pass at least one batch.")
    return total / count
