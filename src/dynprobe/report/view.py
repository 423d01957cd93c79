"""What the figures of one layer need of its recording, drawn down to a size a page can hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.geometry.moments import Moments
from dynprobe.readout import Readout
from dynprobe.recording import Recording

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

    def project(self, states: Tensor) -> Tensor:
        """(points, state_dim) -> (points, 3)."""
        return (states.to(self.mean) - self.mean) @ self.components.T


def view_of(recording: Recording, readout: Readout | str, *, seed: int) -> View:
    """Build the view of a recording; `readout` may be the reason why there is none."""
    flat = recording.flat()
    # batch by batch like the analyzer: the same rounding, so the same signs of the components
    moments = Moments.empty(recording.layout.size)
    for chunk in recording.batches():
        moments = moments.merge(Moments.of(chunk.flat()))
    variances, components = moments.principal_components()
    k = min(DIMS, components.shape[0])
    basis = torch.zeros(DIMS, components.shape[1], dtype=torch.float64)
    basis[:k] = components[:k]
    ratio = torch.zeros(DIMS, dtype=torch.float64)
    ratio[:k] = (variances / variances.sum())[:k]

    def project(states: Tensor) -> Tensor:
        return (states.to("cpu", torch.float64) - moments.mean) @ basis.T

    sample = recording.sample(min(MAX_POINTS, len(flat)), seed=seed)
    known = isinstance(readout, Readout)
    # one logit tells two classes apart
    n_classes = max(readout.n_classes, 2) if isinstance(readout, Readout) else 0
    names = recording.meta.classes or tuple(f"class {i}" for i in range(n_classes))
    prediction = None
    if isinstance(readout, Readout):
        prediction = _top(readout(sample.to(readout.weight)))
    final = recording.final_logits
    if final is None and isinstance(readout, Readout):
        final = readout(recording.final.to(readout.weight))
    predicted = None if final is None else _top(final)
    rows = _trajectory_rows(recording, predicted)
    paths = tuple(project(_path(recording, i)) for i in rows)
    weight = None
    if isinstance(readout, Readout) and readout.n_classes > 1:
        weight = readout.centred() @ basis.T
    notes = recording.meta.notes
    if not known:
        notes = (*notes, f"readout: {readout}")
    return View(
        layer=recording.layer,
        states_seen=len(flat),
        points=project(sample),
        prediction=prediction,
        trajectories=paths,
        trajectory_class=tuple(-1 if predicted is None else int(predicted[i]) for i in rows),
        readouts=weight,
        classes=names,
        mean=moments.mean,
        components=basis,
        variance_ratio=ratio,
        accuracy=_accuracy(recording, predicted),
        notes=notes,
    )


def _path(recording: Recording, row: int) -> Tensor:
    """(time, state_dim), one sequence, from its initial state on where that is known."""
    rows = recording.states if recording.complete else recording.kept
    assert rows is not None
    states = rows[row, : recording.lengths[row]]
    if recording.initial is None:
        return states
    return torch.cat([recording.initial[row : row + 1], states])


def _top(logits: Tensor) -> Tensor:
    """Class with the largest logit; one logit tells two classes apart by its sign."""
    if logits.shape[-1] == 1:
        return (logits[..., 0] > 0).long().cpu()
    return logits.argmax(-1).cpu()


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


def _accuracy(recording: Recording, predicted: Tensor | None) -> float | None:
    labels = recording.labels
    if predicted is None or labels is None or labels.dim() != 1:
        return None
    return float((labels.cpu() == predicted).to(torch.float64).mean())
