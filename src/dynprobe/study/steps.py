"""The loop that every training on fresh sequences shares, of one model or of a stack."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from dynprobe.study.gradients import gradients_on
from dynprobe.study.log import Progress, TrainingLog
from dynprobe.study.members import Members, OneModel
from dynprobe.study.method import Method, trained_parameters
from dynprobe.study.randomness import isolated_global_rng
from dynprobe.tasks.task import Task


@dataclass
class Course:
    """How far a training has come; a run goes on from one.

    Attributes
    ----------
    streams
        Source of the sequences of each member.
    losses
        Of each member in each step, penalties included.
    seconds
        Wall-clock time.
    interrupted
        Whether the user stopped the run.
    """

    streams: list[torch.Generator]
    losses: list[list[float]] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False


def run_steps(
    members: Members,
    task: Task,
    method: Method,
    course: Course,
    end: Callable[[], int],
    *,
    seed: int = 0,
    after: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> None:
    """Train on fresh sequences at every step, up to step `end` or a KeyboardInterrupt.

    Parameters
    ----------
    members, task, method
        What is trained, on which sequences, how.
    course
        Where to go on from; it is brought up to date after every step.
    end
        Asked before each step how many there are to be.
    seed
        Of dropout.
    after, progress
        Called after each step; progress is told the members' mean loss.
    """
    module = members.module
    device = trained_parameters(module)[0].device
    base = [group["lr"] for group in method.optimizer.param_groups]
    was_training = module.training
    gradients = gradients_on(device, members, method)
    started = time.perf_counter() - course.seconds
    module.train()
    try:
        with isolated_global_rng(seed, device):
            while (step := len(course.losses)) < end():
                for group, rate in zip(method.optimizer.param_groups, base, strict=True):
                    group["lr"] = rate * method.rate(step)
                batch = members.gather(
                    [task.sample(method.batch_size, generator=s) for s in course.streams]
                )
                losses = gradients(batch)
                method.optimizer.step()
                course.losses.append(losses.tolist())
                course.seconds = time.perf_counter() - started
                if after is not None:
                    after()
                if progress is not None:
                    progress(step + 1, end(), float(losses.mean()))
    except KeyboardInterrupt:
        course.interrupted = True
    finally:
        course.seconds = time.perf_counter() - started
        for group, rate in zip(method.optimizer.param_groups, base, strict=True):
            group["lr"] = rate
        module.train(was_training)


def run_one(
    model: nn.Module,
    task: Task,
    method: Method,
    *,
    steps: int,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingLog:
    """Train one model from the start.

    Parameters
    ----------
    model, task, method
        Called as ``model(tokens, lengths)``; where sequences come from; what is done in a step.
    steps
        At least 1.
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
        If the number of steps or of sequences is below 1.
    """
    check_sizes(steps, method.batch_size)
    course = Course([torch.Generator().manual_seed(seed)])
    run_steps(OneModel(model), task, method, course, lambda: steps, seed=seed, progress=progress)
    return TrainingLog(
        losses=tuple(loss for (loss,) in course.losses),
        steps_planned=steps,
        seconds=course.seconds,
        seed=seed,
        interrupted=course.interrupted,
    )


def check_sizes(steps: int, batch_size: int) -> None:
    """Raise ValueError where nothing would be trained."""
    if steps < 1 or batch_size < 1:
        raise ValueError(
            f"steps is {steps} and batch_size is {batch_size}. Pass at least 1 for each."
        )
