"""The loop that every training on fresh sequences shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dynprobe.study.log import Progress, TrainingLog
from dynprobe.study.randomness import isolated_global_rng
from dynprobe.tasks.scoring import losses
from dynprobe.tasks.task import Task


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def run_steps(
    model: nn.Module,
    task: Task,
    optimizer: torch.optim.Optimizer,
    rate: Callable[[int], float],
    *,
    steps: int,
    batch_size: int,
    clip: float,
    penalty: Callable[[Sequence[Tensor]], Tensor] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingLog:
    """Train on fresh sequences at every step.

    Parameters
    ----------
    model, task
        Called as ``model(tokens, lengths)``; where sequences come from.
    optimizer
        Of the model's parameters.
    rate
        Factor of the learning rate at a step.
    steps, batch_size
        At least 1 each.
    clip
        Largest total norm of the gradient, the penalty's included.
    penalty
        What is added to the loss, a function of the parameters.
    seed
        Of the sequences, and of dropout.
    progress
        Called after each step.

    Returns
    -------
    TrainingLog
        Also after a KeyboardInterrupt: the model then keeps what it has learned so far.

    Raises
    ------
    ValueError
        If `steps` or `batch_size` is below 1.
    """
    if steps < 1 or batch_size < 1:
        raise ValueError(
            f"steps is {steps} and batch_size is {batch_size}. Pass at least 1 for each."
        )
    parameters = trained_parameters(model)
    device = parameters[0].device
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    generator = torch.Generator().manual_seed(seed)
    history: list[float] = []
    interrupted = False
    was_training = model.training
    started = time.perf_counter()
    model.train()
    try:
        with isolated_global_rng(seed, device):
            for step in range(steps):
                batch = task.sample(batch_size, generator=generator).to(device)
                loss = losses(model(batch.tokens, batch.lengths), batch.labels).mean()
                if penalty is not None:
                    loss = loss + penalty(parameters)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(parameters, clip)
                optimizer.step()
                schedule.step()
                history.append(loss.item())
                if progress is not None:
                    progress(step + 1, steps, history[-1])
    except KeyboardInterrupt:
        interrupted = True
    finally:
        model.train(was_training)
    return TrainingLog(
        losses=tuple(history),
        steps_planned=steps,
        seconds=time.perf_counter() - started,
        seed=seed,
        interrupted=interrupted,
    )
