"""What a survey costs before it runs: measured seconds a step, times steps, times runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch

from dynprobe.nn.stacked import Stack
from dynprobe.study.models import build_model
from dynprobe.study.survey.settings import COUNTING, MODELS, Settings, Topic
from dynprobe.study.train_stack import train_stack
from dynprobe.tasks.scoring import losses

#: Steps that are timed, after one that is not.
TIMED = 3
#: Texts of AG News for training, about: only counted here, not read.
TRAINING_TEXTS = 9990


@dataclass(frozen=True)
class Cost:
    """Of one model on all synthetic tasks, and on all texts.

    Attributes
    ----------
    model : str
        Name.
    step : float
        Seconds a step of one network; of stacked networks, of a stack of as many as a grid has
        penalties.
    runs, text_runs : int
        Networks on synthetic tasks, and on texts.
    steps, text_steps : int
        Steps of each of these.
    stacks : int
        Trainings that these runs are; as many as runs, where nothing is stacked.
    """

    model: str
    step: float
    runs: int
    stacks: int
    steps: int
    text_runs: int
    text_steps: int

    @property
    def hours(self) -> float:
        """Of training, on one core; a step on text is taken to be one of the same model here."""
        return self.step * (self.stacks * self.steps + self.text_runs * self.text_steps) / 3600


def costs(settings: Settings) -> list[Cost]:
    """Time a few steps of every model and count the runs; measuring is not included."""
    return [_cost(settings, model) for model in settings.models]


def described(found: Sequence[Cost]) -> list[str]:
    """The budget in lines: each model, then all of them."""
    lines = [
        f"{c.model}: {c.step:.3f} s a step; {c.runs} networks of {c.steps:,} steps on counting "
        f"tasks in {c.stacks} trainings, {c.text_runs} of {c.text_steps:,} on texts: "
        f"{c.hours:.1f} h"
        for c in found
    ]
    return [*lines, f"all: {sum(c.hours for c in found):.1f} h of training on one core"]


def _cost(settings: Settings, model: str) -> Cost:
    counted, texts = ([t for t in settings.topics if t.text is text] for text in (False, True))
    runs, groups = _runs(settings, model, counted)
    budget = settings.budget
    return Cost(
        model,
        _seconds_a_step(settings, model, counted[0]) if counted else 0.0,
        runs,
        groups if MODELS[model].recurrent else runs,
        budget.steps,
        _runs(settings, model, texts)[0],
        budget.epochs * ceil(TRAINING_TEXTS / budget.batch),
    )


def _runs(settings: Settings, model: str, topics: Sequence[Topic]) -> tuple[int, int]:
    """Networks, and groups of networks with one rate on one task."""
    runs = groups = 0
    for topic in topics:
        grid = settings.grid(model, topic)
        in_grid = len(grid.rates) * len(grid.penalties) if topic.grid else 0
        # a seed of the grid is there already
        rest = len(topic.seeds) - (1 if topic.grid and 0 in topic.seeds else 0)
        runs += in_grid + rest
        groups += (len(grid.rates) if topic.grid else 0) + (1 if rest else 0)
    return runs, groups


def _seconds_a_step(settings: Settings, model: str, topic: Topic) -> float:
    spec, budget = MODELS[model], settings.budget
    task = COUNTING[topic.name](topic.n, topic.length)
    penalties = settings.grid(model, topic).penalties
    words, classes = len(task.vocabulary), task.n_classes
    if spec.recurrent:
        seeds = (0,) * len(penalties)
        stack = Stack.seeded(seeds, words, classes, cell=spec.kind, hidden_size=budget.hidden)
        marks: list[float] = []
        train_stack(
            stack,
            task,
            steps=TIMED + 1,
            seeds=seeds,
            l2=penalties,
            batch_size=budget.batch,
            progress=lambda *_: marks.append(time.perf_counter()),
        )
        return (marks[-1] - marks[0]) / TIMED
    network = build_model(spec.kind, words, classes, hidden_size=budget.hidden, **spec.options)
    batch = task.sample(budget.batch, seed=0)
    started = 0.0
    for i in range(TIMED + 1):
        if i == 1:
            started = time.perf_counter()
        torch.autograd.backward(losses(network(batch.tokens, batch.lengths), batch.labels).mean())
    return (time.perf_counter() - started) / TIMED
