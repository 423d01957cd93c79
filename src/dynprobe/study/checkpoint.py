"""A stack's training on disk: weights, moments, streams and history, enough to go on exactly.

Nothing in a file is ever executed: tensors are read by safetensors, the rest by json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dynprobe.atomic import whole_file
from dynprobe.errors import CheckpointError, FileFormatError

FORMAT = 1
_KEY = "dynprobe-training"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    streams: Sequence[torch.Generator],
    losses: Sequence[Sequence[float]],
    header: dict[str, Any],
) -> None:
    """Write a training's state; the file appears whole or not at all.

    Parameters
    ----------
    path
        File to write.
    model, optimizer, streams, losses
        Weights, Adam's moments, random states, losses of each step.
    header
        Everything else, ready for JSON.
    """
    tensors = {f"stream.{i}": stream.get_state() for i, stream in enumerate(streams)}
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach()
        for moment in _MOMENTS if parameter in optimizer.state else ():
            tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    # safetensors takes neither views nor memory that is shared.
    alone = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    with whole_file(path) as part:
        save_file(alone, part, metadata={_KEY: json.dumps({"format": FORMAT} | header)})


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_checkpoint` wrote: tensors and header.

    Raises
    ------
    FileFormatError
        If the file is damaged or something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise FileFormatError(
            f"{path} is not a safetensors file, or it is damaged: {error}. Delete it to train from "
            "the start."
        ) from error
    if _KEY not in metadata:
        raise FileFormatError(
            f"{path} is a safetensors file, but no checkpoint of a training: its header has no "
            f"{_KEY!r} entry. Pass another path."
        )
    header: dict[str, Any] = json.loads(metadata[_KEY])
    if header["format"] != FORMAT:
        raise FileFormatError(
            f"{path} has format {header['format']}, and this version of dynprobe reads format "
            f"{FORMAT}. Delete it to train from the start."
        )
    return tensors, header


def check_same(path: Path, kept: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare the settings of a checkpoint with those of the run that is to go on.

    Raises
    ------
    CheckpointError
        If one differs.
    """
    # As JSON gives them back: tuples are lists there.
    wanted = json.loads(json.dumps(wanted))
    for name in sorted(kept.keys() | wanted.keys()):
        if kept.get(name) != wanted.get(name):
            raise CheckpointError(
                f"{path} is of a run with {name} {kept.get(name)!r}, and this one has "
                f"{wanted.get(name)!r}. Pass the same settings, or another path."
            )


@torch.no_grad()
def restore(
    tensors: dict[str, Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    streams: Sequence[torch.Generator],
) -> list[list[float]]:
    """Put a checkpoint's tensors back into a training of the same settings; return its losses."""
    for name, parameter in model.named_parameters():
        parameter.copy_(tensors[f"weight.{name}"])
        if f"step.{name}" in tensors:
            # Adam counts its steps on the CPU.
            optimizer.state[parameter] = {
                moment: tensors[f"{moment}.{name}"].to("cpu" if moment == "step" else parameter)
                for moment in _MOMENTS
            }
    for i, stream in enumerate(streams):
        stream.set_state(tensors[f"stream.{i}"])
    losses: list[list[float]] = tensors["losses"].tolist()
    return losses
