"""The reference recipe for a stack of networks: many seeds and penalties at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dynprobe.errors import FileFormatError
from dynprobe.nn.stacked import Stack
from dynprobe.study.checkpoint import check_same, load_checkpoint, restore, save_checkpoint
from dynprobe.study.log import Progress
from dynprobe.study.members import StackedModels
from dynprobe.study.reference import Reference, check_cooldown
from dynprobe.study.settling import RULE, Settling
from dynprobe.study.stack_log import StackLog
from dynprobe.study.steps import Course, check_sizes, run_steps
from dynprobe.study.watch import Watch
from dynprobe.tasks.task import Task


def train_stack(
    stack: Stack,
    task: Task,
    *,
    steps: int,
    seeds: Sequence[int],
    batch_size: int = 128,
    learning_rate: float = 0.1,
    decay: float = 0.9997,
    l2: float | Sequence[float] = 5e-4,
    clip: float = 10.0,
    cooldown: int = 0,
    settling: Settling | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 500,
    progress: Progress | None = None,
) -> StackLog:
    """Train every member of `stack` as :func:`dynprobe.study.train.train` trains one model.

    Each has its own loss, penalty, clip and stream of sequences: member i sees what
    ``train(..., l2=l2[i], seed=seeds[i])`` shows a model, and differs from it by rounding alone.

    Parameters
    ----------
    stack
        Trained in place.
    task
        Where sequences come from.
    steps
        Largest number of steps.
    seeds
        Of each member's sequences.
    l2
        Of all members, or of each.
    batch_size, learning_rate, decay, clip, cooldown
        See :func:`dynprobe.study.train.train`.
    settling
        Rule by which members are evaluated and training ends early: where the last member has
        settled, or, with a cooldown, after this, which then begins there. Members that settled
        before are trained on until then. None trains for all `steps` and evaluates nothing.
    checkpoint
        File from which the run goes on if it is there, in place of the stack's weights, and to
        which its state is written.
    every
        Steps between two writings; there is one more at the end.
    progress
        Called after each step, with the mean loss over members.

    Returns
    -------
    StackLog
        Also after a KeyboardInterrupt: the stack then keeps what it has learned so far, and the
        checkpoint what was there at its last writing.

    Raises
    ------
    ValueError
        If a number is out of range, or there is not one seed, and one `l2`, for each member.
    CheckpointError
        If the checkpoint is of a run with other settings.
    FileFormatError
        If the checkpoint cannot be read, or its folder is not there.
    """
    check_sizes(steps, batch_size)
    check_cooldown(cooldown, steps)
    if every < 1:
        raise ValueError(f"every is {every}. Pass at least 1 step.")
    penalties = (l2,) * len(stack) if isinstance(l2, int | float) else tuple(l2)
    for name, given in (("seeds", seeds), ("l2", penalties)):
        if len(given) != len(stack):
            raise ValueError(
                f"{name} has {len(given)} entries, and the stack {len(stack)} members. "
                "Pass one for each."
            )
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.absolute().parent.is_dir():
        raise FileFormatError(
            f"Cannot write {path}: the folder {path.parent} does not exist. Create it first."
        )
    recipe = Reference(learning_rate, decay, penalties, clip, cooldown)
    course = Course([torch.Generator().manual_seed(seed) for seed in seeds])
    watch = Watch(settling, task, len(stack), steps, cooldown)
    method = recipe.method(stack, batch_size, lambda: watch.end)
    settings = {
        "task": repr(task) if dataclasses.is_dataclass(task) else task.name,
        "vocabulary": task.vocabulary,
        "weights": {name: list(p.shape) for name, p in stack.named_parameters()},
        "seeds": list(seeds),
        "batch_size": batch_size,
        "recipe": dataclasses.asdict(recipe),
        "settling": _compared(settling, cooldown),
        # Without a cooldown a run may be prolonged: what it did so far is the same.
        "steps": steps if cooldown else None,
    }
    if path is not None and path.exists():
        tensors, header = load_checkpoint(path)
        check_same(path, header["settings"], settings)
        course.losses = restore(tensors, stack, method.optimizer, course.streams)
        course.seconds = header["seconds"]
        watch.restore(header["watch"])

    def after() -> None:
        done = len(course.losses)
        watch.after(stack, done)
        if path is not None and (done % every == 0 or done == watch.end):
            header = {"settings": settings, "seconds": course.seconds, "watch": watch.to_dict()}
            save_checkpoint(path, stack, method.optimizer, course.streams, course.losses, header)

    run_steps(
        StackedModels(stack),
        task,
        method,
        course,
        lambda: watch.end,
        after=after,
        progress=progress,
    )
    return StackLog(
        losses=tuple(zip(*course.losses, strict=True)),
        steps_planned=steps,
        seconds=course.seconds,
        seeds=tuple(seeds),
        l2=penalties,
        checks=tuple(tuple(member) for member in watch.checks),
        settled_at=tuple(watch.settled_at),
        interrupted=course.interrupted,
    )


def _compared(settling: Settling | None, cooldown: int) -> dict[str, Any] | None:
    """Of the rule, what a run that goes on must have in common with it: not when it ends."""
    if settling is None:
        return None
    everything = dataclasses.asdict(settling)
    return {k: v for k, v in everything.items() if cooldown or k not in RULE}
