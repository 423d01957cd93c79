"""Trained networks of the survey: from files where they are there, else trained into them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dynprobe.atomic import whole_file
from dynprobe.nn.stacked import Stack
from dynprobe.study.log import Progress
from dynprobe.study.method import trained_parameters
from dynprobe.study.models import build_model
from dynprobe.study.penalty import penalised_parameters
from dynprobe.study.recipes import RECIPES, TEXT_RECIPES
from dynprobe.study.survey.settings import MODELS, Budget, Counted, Topic
from dynprobe.study.train_stack import train_stack
from dynprobe.study.train_text import recurrent_parameters, train_text
from dynprobe.tasks import TextTask

_KEY = "dynprobe-survey"


@dataclass(frozen=True)
class Network:
    """One training: a model on a task, with rate, L2 and seed."""

    topic: Topic
    model: str
    rate: float
    l2: float
    seed: int
    budget: Budget

    @property
    def key(self) -> str:
        """Name for files; what the training depends on."""
        b, t = self.budget, self.topic
        how = f"{b.epochs}epochs" if t.text else f"{t.length}x{b.batch}x{b.steps}"
        name = f"{t.name}{t.n}_{self.model}_{b.hidden}".replace(" ", "-")
        return f"{name}_{how}_lr-{self.rate:g}_l2-{self.l2:g}_seed-{self.seed}"

    @property
    def identity(self) -> tuple[str, int, str, float, float, int]:
        """As :attr:`dynprobe.study.survey.rows.Row.network`."""
        return (self.topic.label, self.topic.n, self.model, self.rate, self.l2, self.seed)


@dataclass(frozen=True)
class Trained:
    """A network, how many steps it had, and how long they took."""

    network: Network
    model: nn.Module
    steps: int
    seconds: float


def train_networks(
    networks: Sequence[Network],
    task: Counted | TextTask,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> list[Trained]:
    """Train networks of one model on one task with one rate, or read them.

    Recurrent layers on a synthetic task are trained as one stack, which takes little longer than
    one of them; the others one after the other. What was finished is not trained again. They are
    trained on `device` and returned on the CPU.

    Raises
    ------
    KeyboardInterrupt
        If the user stopped a training; what was finished is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [n for n in networks if not _file(folder, n).exists()]
    if missing and MODELS[networks[0].model].recurrent and not isinstance(task, TextTask):
        _train_stack(missing, task, folder, device, progress)
    else:
        for network in missing:
            _train_one(network, task, folder, device, progress)
    return [_load(network, task, folder) for network in networks]


def _train_stack(
    networks: Sequence[Network],
    task: Counted,
    folder: Path,
    device: torch.device | str,
    progress: Progress | None,
) -> None:
    first = networks[0]
    budget = first.budget
    stack = Stack.seeded(
        [n.seed for n in networks],
        len(task.vocabulary),
        task.n_classes,
        cell=MODELS[first.model].kind,
        hidden_size=budget.hidden,
        padding_idx=task.padding_idx,
    ).to(device)
    log = train_stack(
        stack,
        task,
        steps=budget.steps,
        seeds=[n.seed for n in networks],
        batch_size=budget.batch,
        learning_rate=first.rate,
        l2=[n.l2 for n in networks],
        cooldown=int(budget.cooldown * budget.steps),
        progress=progress,
    )
    if log.interrupted:
        raise KeyboardInterrupt
    for i, network in enumerate(networks):
        _save(network, stack.member(i), log.steps, log.seconds / len(stack), folder)


def _train_one(
    network: Network,
    task: Counted | TextTask,
    folder: Path,
    device: torch.device | str,
    progress: Progress | None,
) -> None:
    spec, budget = MODELS[network.model], network.budget
    model = _build(network, task).to(device)
    if isinstance(task, TextTask):
        log = train_text(
            model,
            task,
            epochs=budget.epochs,
            learning_rate=network.rate,
            l2=network.l2,
            penalised=_penalised(model, spec.penalised),
            seed=network.seed,
            progress=progress,
        )
    else:
        recipe = replace(
            RECIPES[spec.kind],
            steps=budget.steps,
            batch_size=budget.batch,
            rate=network.rate,
            l2=network.l2,
            cooldown=budget.cooldown,
            weight_decay=0.0,
            penalised=spec.penalised,
        )
        log = recipe.train(model, task, seed=network.seed, progress=progress)
    if log.interrupted:
        raise KeyboardInterrupt
    _save(network, model, len(log.losses), log.seconds, folder)


def _penalised(model: nn.Module, which: str) -> list[nn.Parameter]:
    """On text: the recurrent layer, as in the reference, or the weights of a model of blocks."""
    if which == "all":
        return recurrent_parameters(model)
    chosen = penalised_parameters(model, which)
    return [p for p, c in zip(trained_parameters(model), chosen, strict=True) if c]


def _build(network: Network, task: Counted | TextTask) -> nn.Module:
    spec = MODELS[network.model]
    text = TEXT_RECIPES[spec.kind] if isinstance(task, TextTask) else None
    embed = text is not None and spec.recurrent
    return build_model(
        spec.kind,
        len(task.vocabulary),
        task.n_classes,
        hidden_size=network.budget.hidden,
        embedding_size=network.budget.hidden if embed else None,
        dropout=0.0 if text is None else text.dropout,
        padding_idx=task.padding_idx,
        seed=network.seed,
        **spec.options,
    )


def _file(folder: Path, network: Network) -> Path:
    return folder / f"{network.key}.safetensors"


def _save(network: Network, model: nn.Module, steps: int, seconds: float, folder: Path) -> None:
    weights = {
        name: w.detach().cpu().contiguous().clone() for name, w in model.state_dict().items()
    }
    header = {_KEY: json.dumps({"steps": steps, "seconds": seconds})}
    with whole_file(_file(folder, network)) as part:
        save_file(weights, part, metadata=header)


def _load(network: Network, task: Counted | TextTask, folder: Path) -> Trained:
    path = _file(folder, network)
    model = _build(network, task)
    model.load_state_dict(load_file(path))
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[_KEY])
    return Trained(network, model.eval(), header["steps"], header["seconds"])
