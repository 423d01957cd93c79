"""What of a network is looked at: 600 phrases, the states of the reference analysis, their PCA."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynprobe.geometry.moments import Moments
from dynprobe.probe import Probe, attach
from dynprobe.tasks.batch import Batch
from dynprobe.tasks.task import Task

#: Phrases that are recorded, as in the reference.
PHRASES = 600


@dataclass(frozen=True)
class Watched:
    """A network that ran over phrases.

    Attributes
    ----------
    probe : Probe
        With its recording, labels known.
    phrases : Batch
        What it ran over.
    visited : Tensor
        (points, state_dim), float64: h_1, h_3, ... before the last state of each phrase.
    variances, components : Tensor
        Of the PCA of `visited`: (state_dim,) largest first, (state_dim, state_dim) as rows.
    """

    probe: Probe
    phrases: Batch
    visited: Tensor
    variances: Tensor
    components: Tensor


@torch.no_grad()
def watch(network: nn.Module, task: Task, *, seed: int) -> Watched:
    """Run a recurrent classifier over phrases of its task."""
    phrases = task.sample(PHRASES, seed=seed + 2_000_003)
    network.eval()
    with attach(network, vocabulary=task.vocabulary, classes=task.class_names) as probe:
        network(phrases.tokens, phrases.lengths)
    rec = probe.recording()
    rec.annotate(labels=phrases.labels)
    kept = torch.arange(0, rec.shape[1], 2) < rec.lengths[:, None] - 1
    visited = rec.states[:, ::2][kept].double()
    variances, components = Moments.of(visited).principal_components()
    return Watched(probe, phrases, visited, variances, components)
