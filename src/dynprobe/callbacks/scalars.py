"""What is watched during training: a few numbers of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynprobe.analyzers.answers import Labels
from dynprobe.analyzers.base import Analyzer
from dynprobe.analyzers.manifold_dimension import ManifoldDimension
from dynprobe.analyzers.readout_geometry import ReadoutSimplex
from dynprobe.callbacks.memory import MemoryDimension
from dynprobe.callbacks.slow_modes import QuickSlowModes
from dynprobe.frames.numbers import numbers
from dynprobe.report import Report

#: Wider states are not searched for fixed points, nor is their covariance formed, by default:
#: the one costs the cube of the width, the other its square.
SEARCHED, FORMED = 256, 4096

#: Built-in analyzer -> name of a scalar -> how it is read off the result. Of other analyzers every
#: number is taken.
CHOSEN: dict[str, dict[str, Callable[[Any], float | None]]] = {
    "manifold_dimension": {
        "participation_ratio": lambda r: r.participation_ratio,
        "components_95": lambda r: r.components_95,
    },
    "integration_direction": {
        "longest_time_constant": lambda r: r.time_constants[0, 1],
        "integrating_modes": lambda r: r.n_integrating,
    },
    "quick_slow_modes": {
        "longest_time_constant": lambda r: r.longest_time_constant,
        "integrating_modes": lambda r: r.n_integrating,
        "fixed_seeds": lambda r: r.n_fixed,
        "slow_seeds": lambda r: r.n_slow,
    },
    "readout_geometry": {
        "readout_angle_min": lambda r: r.geometry.pair_angles.min(),
        "readout_angle_max": lambda r: r.geometry.pair_angles.max(),
    },
    "memory_dimension": {"memory_participation_ratio": lambda r: r.participation_ratio},
}


def default_analyzers(state_dim: int, n_classes: int | None) -> list[Analyzer]:
    """Analyzers that cost a second or two, fewer for wide states and where nothing is read out.

    Parameters
    ----------
    state_dim : int
        Width of the state.
    n_classes : int or None
        Of the linear readout; None where there is none.
    """
    chosen: list[Analyzer] = []
    if state_dim <= FORMED:
        chosen.append(ManifoldDimension(sample=200))  # the interval, which nobody sees, is cheap
    if n_classes is not None and n_classes > 1:
        chosen.append(ReadoutSimplex())
    if state_dim <= SEARCHED:
        chosen.append(QuickSlowModes())
    return [*chosen, MemoryDimension()]


def scalars(report: Report, layer: str) -> dict[str, float]:
    """The numbers of one layer that are watched, by name."""
    out: dict[str, float] = {}
    for (analyzer, at), result in report.results.items():
        if at != layer:
            continue
        if analyzer in CHOSEN:
            found = {name: read(result) for name, read in CHOSEN[analyzer].items()}
            out |= {name: float(value) for name, value in found.items() if value is not None}
        else:
            every = numbers(result, tensors=False)
            out |= {f"{analyzer}/{name}": value for name, value in every.items()}
    return out


def accuracy(output: Any, labels: Any) -> float | None:
    """Share of the labels that a model's output has right; None where the two do not fit.

    The output is logits (sequences, classes), or has them as ``logits`` or as its first entry.
    """
    logits = getattr(output, "logits", output[0] if isinstance(output, list | tuple) else output)
    if labels is None or not isinstance(logits, Tensor) or logits.dim() != 2:
        return None
    given = torch.as_tensor(labels).cpu()
    if len(given) != len(logits):
        return None
    known = Labels.of(given, logits.shape[1])
    return known.accuracy(known.answers(logits.cpu()))
