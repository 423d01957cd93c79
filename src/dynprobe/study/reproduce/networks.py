"""Trained networks of a setting: from a file where they are there, else trained into it."""

from __future__ import annotations

from pathlib import Path

import torch

from dynprobe.nn.stacked import Stack
from dynprobe.study.log import Progress
from dynprobe.study.reproduce.settings import BATCH, Setting
from dynprobe.study.stack_log import StackLog
from dynprobe.study.train_stack import train_stack


def untrained(setting: Setting) -> Stack:
    """The networks before training."""
    task = setting.task()
    return Stack.seeded(
        setting.seeds,
        len(task.vocabulary),
        task.n_classes,
        cell=setting.cell,
        hidden_size=setting.units,
    )


def networks(
    setting: Setting,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[Stack, StackLog]:
    """Train the networks, or go on where an interrupted training left them.

    Parameters
    ----------
    setting
        Which.
    folder
        Of the files; one that is complete is only read.
    device
        Where they are trained; they are returned on the CPU. Initial weights and sequences are the
        same on every device, what is trained from them differs by rounding, which grows.
    """
    task, stack = setting.task(), untrained(setting).to(device)
    folder.mkdir(parents=True, exist_ok=True)
    log = train_stack(
        stack,
        task,
        steps=setting.steps,
        seeds=setting.seeds,
        batch_size=BATCH,
        l2=setting.l2,
        settling=setting.settling,
        checkpoint=folder / f"{setting.key}.safetensors",
        every=250,
        progress=progress,
    )
    return stack.cpu(), log
