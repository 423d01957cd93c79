"""Small untrained models, run over the same sequences of different lengths."""

from __future__ import annotations

import torch

import dynprobe
from dynprobe.nn import RNNClassifier
from dynprobe.study.models import LinearTransformerClassifier
from dynprobe.tasks import categorical
from dynprobe.tasks.batch import Batch

CLASSES = 3
TASK = categorical(CLASSES, 14, min_length=8)
BATCH = TASK.sample(20, seed=0)


def classifier(cell, units):
    generator = torch.Generator().manual_seed(units)
    return RNNClassifier(
        len(TASK.vocabulary), CLASSES, cell=cell, hidden_size=units, generator=generator
    ).eval()


def transformer():
    model = LinearTransformerClassifier(
        len(TASK.vocabulary), CLASSES, hidden_size=16, layers=2, heads=2
    )
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(5)  # outputs that depend on their inputs
    return model.eval()


def probed(model, *, rows=slice(None), shift=0, shorter=0, stream=True, store=None):
    """Run over (some of) the batch, perhaps with other tokens or lengths."""
    size = len(TASK.vocabulary)
    batch = Batch(
        (BATCH.tokens[rows] + shift) % size, BATCH.lengths[rows] - shorter, BATCH.labels[rows]
    )
    with (
        dynprobe.attach(model, classes=TASK.class_names, store=store) as probe,
        dynprobe.Stream(model) as read,
        torch.no_grad(),
    ):
        model(batch.tokens, batch.lengths)
    for layer in probe.layers:
        probe.recording(layer.key).annotate(labels=batch.labels)
    return (probe, read) if stream else probe
