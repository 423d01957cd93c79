"""How far each stage of a longer run has come."""

from __future__ import annotations

from typing import Protocol

from dynprobe.study.log import Progress


class Stage(Protocol):
    """Told how far each stage of a longer run has come."""

    def __call__(self, stage: str, done: int, total: int, /) -> None: ...


def quiet(stage: str, done: int, total: int, /) -> None:
    """Report nothing."""


def told(progress: Stage, stage: str) -> Progress:
    """What a training calls after each step, to tell of it as one stage."""
    return lambda done, total, _: progress(stage, done, total)
