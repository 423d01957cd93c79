"""A training recipe for transformers on synthetic tasks."""

from __future__ import annotations

import torch
from torch import nn

from dynprobe.study.log import Progress, TrainingLog
from dynprobe.study.steps import Method, run_one, trained_parameters
from dynprobe.tasks.task import Task

#: Steps over which the rate rises, by default.
WARM_UP = 100


def train_adamw(
    model: nn.Module,
    task: Task,
    *,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    warm_up: int = WARM_UP,
    cooldown: int = 0,
    clip: float = 1.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingLog:
    """Train `model` on fresh sequences at every step.

    Cross-entropy at the last step; AdamW, whose learning rate rises linearly over the first
    `warm_up` steps and falls linearly to zero over the last `cooldown`.

    Parameters
    ----------
    model
        Called as ``model(tokens, lengths)``, gives logits ``(batch, n_classes)``. Trained in
        place.
    task
        Where sequences come from.
    steps, batch_size, learning_rate, weight_decay, warm_up, cooldown, clip
        See above; `clip` bounds the total norm of the gradient.
    seed
        Seed of the sequences and of dropout.
    progress
        Called after each step.

    Returns
    -------
    TrainingLog
        Also after a KeyboardInterrupt.

    Raises
    ------
    ValueError
        If `steps` or `batch_size` is below 1.
    """

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / max(warm_up, 1), (steps - step) / max(cooldown, 1))

    optimizer = torch.optim.AdamW(
        trained_parameters(model), lr=learning_rate, weight_decay=weight_decay
    )
    method = Method(optimizer, rate, batch_size, clip)
    return run_one(model, task, method, steps=steps, seed=seed, progress=progress)
