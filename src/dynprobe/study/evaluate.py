"""Accuracy of a classifier."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dynprobe.tasks.batch import Batch
from dynprobe.tasks.scoring import hits


@torch.no_grad()
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
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    correct = total = 0
    try:
        for batch in batches:
            logits = model(batch.tokens.to(device), batch.lengths.to(device))
            correct += int(hits(logits.cpu(), batch.labels.cpu()).sum())
            total += len(batch)
    finally:
        model.train(was_training)
    if total == 0:
        raise ValueError("There is no sequence to evaluate on. Pass at least one batch.")
    return correct / total
