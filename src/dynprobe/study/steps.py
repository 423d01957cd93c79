"""The loop that every training on fresh sequences shares, of one model or of a stack."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dynprobe.study.log import Progress, TrainingLog
from dynprobe.study.members import Members, OneModel
from dynprobe.study.randomness import isolated_global_rng
from dynprobe.tasks.batch import Batch
from dynprobe.tasks.task import Task


@dataclass(frozen=True)
class Method:
    """What is done in a step.

    Attributes
    ----------
    optimizer
        Of the members' parameters; it must treat every entry by itself, as Adam does.
    rate
        Factor of the learning rate at a step, counted from 0.
    batch_size
        Fresh sequences of each member.
    clip
        Largest norm of a member's gradient, the penalty's included.
    penalty
        What is added to the losses, ``(members,)``, a function of the parameters, each
        ``(members, entries)``.
    """

    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]
    batch_size: int
    clip: float
    penalty: Callable[[Sequence[Tensor]], Tensor] | None = None


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


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that training changes."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


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
    started = time.perf_counter() - course.seconds
    module.train()
    try:
        with isolated_global_rng(seed, device):
            while (step := len(course.losses)) < end():
                for group, rate in zip(method.optimizer.param_groups, base, strict=True):
                    group["lr"] = rate * method.rate(step)
                batches = [
                    task.sample(method.batch_size, generator=stream).to(device)
                    for stream in course.streams
                ]
                losses = one_step(members, batches, method)
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


def one_step(members: Members, batches: Sequence[Batch], method: Method) -> Tensor:
    """Change the parameters once; return the loss of each member, ``(members,)``."""
    parameters = trained_parameters(members.module)
    losses = members.losses(batches)
    if method.penalty is not None:
        losses = losses + method.penalty([members.rows(parameter) for parameter in parameters])
    method.optimizer.zero_grad()
    # Members share no parameter: the gradient of the sum is each one's own.
    torch.autograd.backward(losses.sum())
    clip_gradients(members, parameters, method.clip)
    method.optimizer.step()
    return losses.detach()


@torch.no_grad()
def clip_gradients(members: Members, parameters: Sequence[Tensor], clip: float) -> None:
    """Scale each member's gradient down to a total norm of `clip`, as torch's clip_grad_norm_."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = [torch.linalg.vector_norm(members.rows(grad), dim=1) for grad in grads]
    total = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    factors = (clip / (total + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(members.along(factors, grad))


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
