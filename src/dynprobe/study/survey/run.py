"""Train what is missing, choose by validation, measure; keep numbers as soon as they are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dynprobe.errors import DataError
from dynprobe.study.folder import make_folder
from dynprobe.study.stage import Stage, quiet, told
from dynprobe.study.survey.baseline import BASELINE, baseline
from dynprobe.study.survey.measures import Number, brief_measures, full_measures
from dynprobe.study.survey.networks import Network, Trained, train_networks
from dynprobe.study.survey.rows import COMPLETE, MODEL, Row, read_rows, write_rows
from dynprobe.study.survey.settings import COUNTING, TEXTS, Settings, Topic
from dynprobe.study.survey.texts import read_text
from dynprobe.study.survey.watched import Material, Watched, material, watch

#: Files of a survey, in its folder.
ROWS, NETWORKS = "rows.csv", "networks"
#: By which rate and L2 are chosen, and the seed that they are chosen with.
LOSS, ACCURACY, GRID_SEED = "validation loss", "validation accuracy", 0
#: Accuracy that may be lost for a stronger penalty.
MATCHED = 0.01


@dataclass(frozen=True)
class Survey:
    """What there is so far.

    Attributes
    ----------
    rows : list of Row
        Every number.
    settings : Settings
        What was asked for.
    left_out : list of str
        Tasks whose data was not given.
    interrupted : bool
        Whether the user stopped it before all of it was there.
    """

    rows: list[Row]
    settings: Settings
    left_out: list[str]
    interrupted: bool


def survey(
    settings: Settings,
    folder: Path,
    *,
    data: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Stage = quiet,
) -> Survey:
    """Run what the folder does not hold already.

    Parameters
    ----------
    settings
        Models, tasks, budget, grids.
    folder
        Where rows and networks go. A run that was stopped goes on from there.
    data
        Folder that holds the text data sets; without it they are left out.
    device
        Where networks are trained; they are measured on the CPU.
    progress
        ``progress(stage, done, total)``.

    Raises
    ------
    DataError
        If the folder is a file or holds rows of networks with another number of steps, or a text
        data set is not in its folder.
    """
    make_folder(folder)
    run = _Run(settings, folder, read_rows(folder / ROWS), device, progress)
    _check_budget(run.rows, settings, folder)
    left_out = [t.label for t in settings.topics if t.text and data is None]
    try:
        for topic in settings.topics:
            if topic.label not in left_out:
                run.topic(topic, data)
    except KeyboardInterrupt:
        return Survey(run.rows, settings, left_out, True)
    return Survey(run.rows, settings, left_out, False)


def chosen(
    rows: Sequence[Row], settings: Settings, model: str, topic: Topic
) -> tuple[float, float]:
    """Rate and L2 of a model on the family of a task, by the validation sequences of its grid.

    Penalties of two kinds of model do not compare, and the least loss is nearly always that of the
    weakest one, under which even a recurrent network keeps more than it needs. So each kind is
    looked at where its penalty is as strong as it may be: L2 is the largest with which some rate
    is at most :data:`MATCHED` below the best accuracy of the grid; of the rates that are, the one
    with the least loss is taken. The other networks of the grid show what L2 does.

    Raises
    ------
    DataError
        If the family's grid has not been run in full.
    """
    of_grid = next((t for t in settings.topics if t.grid and t.family == topic.family), None)
    if of_grid is None:
        raise DataError(f"No task of the family {topic.family!r} has a grid to choose from.")
    grid = settings.grid(model, of_grid)
    losses, accuracies = (
        {
            (r.lr, r.l2): r.value
            for r in rows
            if (r.task, r.n, r.model) == (of_grid.label, of_grid.n, model)
            and (r.measure, r.seed) == (measure, GRID_SEED)
        }
        for measure in (LOSS, ACCURACY)
    )
    wanted = [(rate, l2) for rate in grid.rates for l2 in grid.penalties]
    if missing := [at for at in wanted if at not in losses or at not in accuracies]:
        raise DataError(
            f"{model} on {of_grid.label} {of_grid.n}: {len(missing)} of {len(wanted)} settings of "
            "the grid have not been evaluated yet. Run the grid first."
        )
    enough = max(accuracies[at] for at in wanted) - MATCHED
    matched = [at for at in wanted if accuracies[at] >= enough]
    strongest = max(l2 for _, l2 in matched)
    return min((at for at in matched if at[1] == strongest), key=lambda at: losses[at])


class _Run:
    """Rows so far, and how more are added."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        rows: list[Row],
        device: torch.device | str,
        progress: Stage,
    ) -> None:
        self.settings, self.folder, self.rows = settings, folder, rows
        self.device, self.progress = device, progress

    def topic(self, topic: Topic, data: Path | None) -> None:
        """All networks of one task."""
        given: Material | None = None
        counted = (topic.label, topic.n, BASELINE)
        if not any((r.task, r.n, r.model) == counted for r in self.rows):
            given = _material(topic, data)
            self._baseline(topic, given)
        for model in self.settings.models:
            for networks, full in self._wanted(model, topic):
                if not any(self._missing(n, full) for n in networks):
                    continue
                if given is None:
                    given = _material(topic, data)
                trained = train_networks(
                    networks,
                    given.task,
                    self.folder / NETWORKS,
                    device=self.device,
                    progress=told(self.progress, f"training {model} on {topic.label} {topic.n}"),
                )
                for one in trained:
                    self._measure(one, given, full)

    def _baseline(self, topic: Topic, given: Material) -> None:
        """What word counts alone give."""
        self.progress(f"counting words of {topic.label} {topic.n}", 0, 1)
        accuracy, numbers = baseline(given.task)
        self.rows += [
            Row(topic.label, topic.n, BASELINE, MODEL, 0.0, 0.0, 0, 0, accuracy, measure, value)
            for measure, value in (numbers | {COMPLETE: 1.0}).items()
        ]
        write_rows(self.folder / ROWS, self.rows)
        self.progress(f"counting words of {topic.label} {topic.n}", 1, 1)

    def _wanted(self, model: str, topic: Topic) -> Iterator[tuple[list[Network], bool]]:
        """Networks that are trained together, and whether everything is measured of them."""
        budget = self.settings.budget
        if topic.grid:
            grid = self.settings.grid(model, topic)
            for rate in grid.rates:
                yield (
                    [Network(topic, model, rate, l2, GRID_SEED, budget) for l2 in grid.penalties],
                    False,
                )
        rate, l2 = chosen(self.rows, self.settings, model, topic)
        yield [Network(topic, model, rate, l2, seed, budget) for seed in topic.seeds], True

    def _missing(self, network: Network, full: bool) -> bool:
        marker = COMPLETE if full else LOSS
        return not any(r.measure == marker and r.network == network.identity for r in self.rows)

    def _measure(self, one: Trained, given: Material, full: bool) -> None:
        network = one.network
        if not self._missing(network, full):
            return
        self.progress(f"measuring {network.key}", 0, 1)
        watched = watch(one.model, given)
        numbers: list[Number] = []
        if self._missing(network, False):
            numbers += brief_measures(watched)
        if full:
            numbers += full_measures(watched, network.topic.dims, seed=network.seed)
        self.rows += _rows(one, watched, numbers)
        write_rows(self.folder / ROWS, self.rows)
        self.progress(f"measuring {network.key}", 1, 1)


def _check_budget(rows: Sequence[Row], settings: Settings, folder: Path) -> None:
    """Numbers of another budget must not stand in one column with those of this one."""
    trained = [r for r in rows if r.task not in TEXTS and r.model != BASELINE]
    others = {r.steps for r in trained} - {settings.budget.steps}
    if others:
        raise DataError(
            f"{folder / ROWS} has networks of {', '.join(map(str, sorted(others)))} steps, and "
            f"this survey trains for {settings.budget.steps}. Pass another folder."
        )


def _material(topic: Topic, data: Path | None) -> Material:
    if topic.text:
        assert data is not None
        return material(read_text(topic.name, data))
    return material(COUNTING[topic.name](topic.n, topic.length))


def _rows(one: Trained, watched: Watched, numbers: Sequence[Number]) -> Iterator[Row]:
    task, n, model, rate, l2, seed = one.network.identity
    for notion, measure, value in numbers:
        yield Row(
            task, n, model, notion, rate, l2, seed, one.steps, watched.accuracy, measure, value
        )
