"""What the figures of one layer need of its recording, drawn down to a size a page can hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.answers import Labels
from dynprobe.errors import BudgetError
from dynprobe.geometry.moments import Moments
from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.report.sample import Sample, sample_of

MAX_POINTS = 4000
TRAJECTORIES_PER_CLASS = 2
DIMS = 3


@dataclass(frozen=True)
class View:
    """States of one layer in the space of their first three principal components.

    Attributes
    ----------
    layer : str
        Key of the recurrence.
    states_seen : int
        Valid states in the recording.
    points : Tensor
        (points, 3), a random sample of visited states.
    prediction : Tensor or None
        (points,), class that the readout gives each of these states.
    trajectories : tuple of Tensor
        Each (time, 3), from the initial state on where it is known.
    trajectory_class : tuple of int
        Predicted class of each trajectory; -1 unknown.
    readouts : Tensor or None
        (classes, 3), readout vectors (their mean over classes removed) in the same space.
    classes : tuple of str
        Names of the classes.
    mean, components : Tensor
        (state_dim,) and (3, state_dim): to project other points.
    variance_ratio : Tensor
        (3,), shares of the variance of the visited states.
    accuracy : float or None
        Share of sequences whose final logits have the label on top.
    notes : tuple of str
        How lengths and tokens were found, whether there is a readout.
    sample : Sample or None
        What a page shows one by one: states with their tokens, sequences as texts.
    """

    layer: str
    states_seen: int
    points: Tensor
    prediction: Tensor | None
    trajectories: tuple[Tensor, ...]
    trajectory_class: tuple[int, ...]
    readouts: Tensor | None
    classes: tuple[str, ...]
    mean: Tensor
    components: Tensor
    variance_ratio: Tensor
    accuracy: float | None
    notes: tuple[str, ...]
    sample: Sample | None = None

    def project(self, states: Tensor) -> Tensor:
        """(points, state_dim) -> (points, 3)."""
        return (states.to(self.mean) - self.mean) @ self.components.T


def view_of(recording: Recording, readout: Readout | str, *, seed: int) -> View:
    """Build the view of a recording; `readout` may be the reason why there is none."""
    formed = recording.complete or recording.kept is not None
    space = _of_states(recording) if formed else _of_factors(recording, seed)
    index = _drawn(space.count, seed)
    sample = recording.valid_rows(index).cpu() if formed else None
    points = space.at(index) if sample is None else space.project(sample)
    known = isinstance(readout, Readout)
    # one logit tells two classes apart
    n_classes = max(readout.n_classes, 2) if isinstance(readout, Readout) else 0
    names = recording.meta.classes or tuple(f"class {i}" for i in range(n_classes))
    prediction = None
    unjudged = Labels(None)
    if isinstance(readout, Readout) and sample is not None:
        prediction = unjudged.answers(readout(sample.to(readout.weight)))
    final = recording.final_logits
    if final is None and isinstance(readout, Readout):
        final = readout(recording.final.to(readout.weight))
    predicted = None if final is None else unjudged.answers(final)
    rows = _trajectory_rows(recording, predicted)

    def path(row: int) -> Tensor:
        return _path(recording, space, row)

    def ends(rows: Tensor) -> Tensor:
        if formed:
            return space.project(recording.final[rows])
        return torch.stack([path(row)[-1] for row in rows.tolist()])

    weight = None
    if isinstance(readout, Readout) and readout.n_classes > 1:
        weight = readout.centred() @ space.components.T
    notes = recording.meta.notes
    if not known:
        notes = (*notes, f"readout: {readout}")
    try:
        explored = sample_of(recording, readout, index, points, sample, path, ends, seed=seed)
    except BudgetError as error:  # tokens and logits of a folder that memory cannot hold
        explored = None
        notes = (*notes, f"nothing to explore on the page: {error}")
    return View(
        layer=recording.layer,
        states_seen=space.count,
        points=points,
        prediction=prediction,
        trajectories=tuple(map(path, rows)),
        trajectory_class=tuple(-1 if predicted is None else int(predicted[i]) for i in rows),
        readouts=weight,
        classes=names,
        mean=space.mean,
        components=space.components,
        variance_ratio=space.variance_ratio,
        accuracy=_accuracy(recording, final),
        notes=notes,
        sample=explored,
    )


@dataclass(frozen=True)
class _Space:
    """The first three principal components, in float64; missing ones are zero.

    `scores` (count, 3) are the coordinates of all states, sequence after sequence, where these are
    not formed.
    """

    count: int
    mean: Tensor
    components: Tensor
    variance_ratio: Tensor
    scores: Tensor | None = None

    def project(self, states: Tensor) -> Tensor:
        centred: Tensor = states.to("cpu", torch.float64) - self.mean
        return centred @ self.components.T

    def at(self, index: Tensor) -> Tensor:
        assert self.scores is not None
        return self.scores[index]


def _of_states(recording: Recording) -> _Space:
    # batch by batch like the analyzer: the same rounding, so the same signs of the components
    moments = Moments.empty(recording.layout.size)
    for chunk in recording.batches():
        moments = moments.merge(Moments.of(chunk.flat()))
    variances, components = moments.principal_components()
    ratio = variances / variances.sum()
    return _Space(moments.count, moments.mean, _three(components), _three(ratio))


def _of_factors(recording: Recording, seed: int) -> _Space:
    pca = recording.pca(DIMS, seed=seed)
    ratio = pca.variance.double() / pca.total_variance
    return _Space(
        int(recording.lengths.sum()),
        pca.mean.to("cpu", torch.float64),
        _three(pca.components.to("cpu", torch.float64)),
        _three(ratio.cpu()),
        _three(pca.scores[recording.mask].to("cpu", torch.float64).T).T,
    )


def _three(rows: Tensor) -> Tensor:
    """The first three rows, or zeros for those that are missing."""
    out: Tensor = rows.new_zeros(DIMS, *rows.shape[1:])
    out[: len(rows)] = rows[:DIMS]
    return out


def _drawn(count: int, seed: int) -> Tensor:
    """Which states are shown: so many at random, without replacement."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:MAX_POINTS]


def _path(recording: Recording, space: _Space, row: int) -> Tensor:
    """(time, 3), one sequence, from its initial state on where that is known."""
    one = recording[row : row + 1]  # the others may lie on a disk
    if space.scores is not None:
        path: Tensor = space.scores.split(recording.lengths.tolist())[row]
    else:
        path = space.project(one.flat())
    return path if one.initial is None else torch.cat([space.project(one.initial), path])


def _trajectory_rows(recording: Recording, predicted: Tensor | None) -> list[int]:
    """A few sequences of each predicted class, those of typical length first."""
    typical = recording.lengths.to(torch.float64).median()
    order = (recording.lengths - typical).abs().argsort(stable=True).tolist()
    order = [i for i in order if recording.lengths[i] > 0]
    if predicted is None:
        return order[: 3 * TRAJECTORIES_PER_CLASS]
    rows: list[int] = []
    for c in predicted.unique().tolist():
        rows += [i for i in order if predicted[i] == c][:TRAJECTORIES_PER_CLASS]
    return rows


def _accuracy(recording: Recording, logits: Tensor | None) -> float | None:
    """Of the last logits, where labels are classes that fit them; unknown labels do not count."""
    labels = recording.labels
    if logits is None or labels is None or labels.dim() != 1:
        return None
    known = Labels.of(labels, logits.shape[-1])
    return known.accuracy(known.answers(logits))
