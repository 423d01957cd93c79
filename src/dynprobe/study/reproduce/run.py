"""Train what is missing, measure what is missing, keep every number as soon as it is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dynprobe.atomic import whole_file
from dynprobe.nn import RNNClassifier
from dynprobe.study.folder import make_folder
from dynprobe.study.reproduce.measures import LATEST, Measured, expected_dims, measure
from dynprobe.study.reproduce.networks import networks
from dynprobe.study.reproduce.news import NEWS, PLANNED, SEEDS, SUMMED, news_rows
from dynprobe.study.reproduce.rows import FAILED, Row, read_rows, write_rows
from dynprobe.study.reproduce.settings import Setting
from dynprobe.study.stage import Stage, quiet, told

#: Files of a reproduction, in its folder.
ROWS, NETWORKS, ARRAYS = "rows.csv", "networks", "arrays"
#: The measure that says when a network had settled; NaN where it had not.
SETTLED = "settled at step"


@dataclass(frozen=True)
class Reproduction:
    """What there is so far.

    Attributes
    ----------
    rows : list of Row
        Every number.
    folder : Path
        Where it lies.
    settings : list of Setting
        What was asked for.
    interrupted : bool
        Whether the user stopped it before all of it was there.
    """

    rows: list[Row]
    folder: Path
    settings: list[Setting]
    interrupted: bool

    @property
    def shown(self) -> list[Row]:
        """Rows of the settings asked for, trained for as long; a folder may hold others."""
        least = {s.network(seed): s.least_steps for s in self.settings for seed in s.seeds}
        return [r for r in self.rows if r.task == NEWS or r.steps >= least.get(r.network, math.inf)]

    @property
    def failed(self) -> list[Row]:
        """Networks that could not be measured, with the reason as measure."""
        return [r for r in self.shown if r.measure.startswith(FAILED)]

    def seeds(self, kind: str, n: int, l2: float, model: str) -> int:
        """How many networks of a kind there are to be."""
        if model == SUMMED:
            return len(SEEDS)
        found = [s for s in self.settings if (s.kind, s.n, s.l2, s.cell) == (kind, n, l2, model)]
        return len(found[0].seeds) if found else 1

    def arrays(self, setting: Setting, seed: int) -> dict[str, Tensor] | None:
        """For the figures of one network; None where it was not measured here."""
        path = _arrays_of(self.folder, setting, seed)
        return load_file(path) if path.exists() else None


def reproduce(
    settings: Sequence[Setting],
    folder: Path,
    *,
    news: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Stage = quiet,
) -> Reproduction:
    """Train and measure networks; what the folder holds already is not done again.

    Parameters
    ----------
    settings
        Which networks.
    folder
        Where rows, networks and arrays go. A run that was stopped goes on from there.
    news
        Folder of AG News, for the one row of the paper's table that needs it.
    device
        Where networks are trained; they are measured on the CPU.
    progress
        ``progress(stage, done, total)``.

    Raises
    ------
    DataError
        If `folder` is a file, or its rows cannot be read.
    """
    make_folder(folder)
    path = folder / ROWS
    rows = read_rows(path)
    try:
        if news is not None:
            rows = [r for r in rows if r.task != NEWS or (r.model, r.seed, r.steps) in PLANNED]
            known = {(r.model, r.seed, r.steps) for r in rows if r.task == NEWS}
            for more in news_rows(news, known, progress):
                rows += more
                write_rows(path, rows)
        for setting in settings:
            missing = [s for s in setting.seeds if not _is_there(rows, setting, s)]
            if not missing:
                continue
            stack, log = networks(
                setting,
                folder / NETWORKS,
                device=device,
                progress=told(progress, f"training {setting.key}"),
            )
            if log.interrupted:
                raise KeyboardInterrupt
            trained = {r.network: r.steps for r in rows}
            for i, seed in enumerate(setting.seeds):
                progress(f"measuring {setting.key}", i, len(setting.seeds))
                # where one goes on, so do the others of its stack
                if seed not in missing and trained[setting.network(seed)] == log.steps:
                    continue
                found = _measured(stack.member(i), setting, seed)
                settled = log.settled_at[i]
                found.numbers[SETTLED] = math.nan if settled is None else float(settled)
                _keep_arrays(folder, setting, seed, found)
                # in place of those of a network that was trained for less
                rows = [r for r in rows if r.network != setting.network(seed)]
                rows += _rows(setting, seed, log.steps, found)
                write_rows(path, rows)
    except KeyboardInterrupt:
        return Reproduction(rows, folder, list(settings), True)
    return Reproduction(rows, folder, list(settings), False)


def _is_there(rows: Sequence[Row], setting: Setting, seed: int) -> bool:
    """Whether a network is trained to the end and has every measure.

    Rows of an older version lack one; a network that may be trained further now, or could not be
    measured, is tried again.
    """
    own = {r.measure: r for r in rows if r.network == setting.network(seed)}
    if LATEST not in own:
        return False
    steps, settled = own[LATEST].steps, own.get(SETTLED)
    return steps >= setting.steps or (
        steps >= setting.least_steps and settled is not None and math.isfinite(settled.value)
    )


def _measured(network: RNNClassifier, setting: Setting, seed: int) -> Measured:
    """Measure, and keep the reason where that fails: others are still to come."""
    dims = expected_dims(setting.kind, setting.n)
    try:
        return measure(network, setting.task(), dims, seed=seed, full=setting.full)
    except Exception as error:
        reason = f"{FAILED}{type(error).__name__}: {error}"
        return Measured(math.nan, {reason: math.nan}, {})


def _rows(setting: Setting, seed: int, steps: int, found: Measured) -> list[Row]:
    return [
        Row(*setting.network(seed), steps, found.accuracy, name, value)
        for name, value in found.numbers.items()
    ]


def _arrays_of(folder: Path, setting: Setting, seed: int) -> Path:
    return folder / ARRAYS / f"{setting.key}_{seed}.safetensors"


def _keep_arrays(folder: Path, setting: Setting, seed: int, found: Measured) -> None:
    path = _arrays_of(folder, setting, seed)
    path.parent.mkdir(exist_ok=True)
    small = {
        name: (a.float() if a.dtype == torch.float64 else a).contiguous().clone()
        for name, a in found.arrays.items()
    }
    with whole_file(path) as part:
        save_file(small, part)
