"""A training recipe for transformers and Mamba on synthetic tasks."""

from __future__ import annotations

import torch
from torch import nn

from dynprobe.study.log import Progress, TrainingLog
from dynprobe.study.method import Method, trained_parameters
from dynprobe.study.penalty import penalty_of
from dynprobe.study.steps import run_one
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
    l2: float = 0.0,
    penalised: str = "all",
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingLog:
    """Train `model` on fresh sequences at every step.

    Cross-entropy at the last step, plus ``l2 * sum(theta ** 2)`` over the penalised parameters;
    AdamW, whose learning rate rises linearly over the first
    `warm_up` steps and falls linearly to zero over the last `cooldown`.

    Parameters
    ----------
    model
        Called as ``model(tokens, lengths)``, gives logits ``(batch, n_classes)``. Trained in
        place.
    task
        Where sequences come from.
    steps, batch_size, learning_rate, weight_decay, warm_up, cooldown, clip
        See above; `clip` bounds the total norm of the gradient, the penalty's included. Weight
        decay is decoupled: it is in no gradient and applies to every parameter.
    l2, penalised
        A penalty in the loss, the same for models of every kind, on ``"all"`` parameters or on
        ``"weights"``, see :func:`dynprobe.study.penalty.penalised_parameters`.
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
    UnknownNameError
        For another choice of what is penalised.
    """

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / max(warm_up, 1), (steps - step) / max(cooldown, 1))

    optimizer = torch.optim.AdamW(
        trained_parameters(model), lr=learning_rate, weight_decay=weight_decay
    )
    penalty = penalty_of(model, (l2,), penalised) if l2 else None
    method = Method(optimizer, rate, batch_size, clip, penalty)
    return run_one(model, task, method, steps=steps, seed=seed, progress=progress)
