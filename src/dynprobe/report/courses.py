"""Whole sequences for the page: which ones, and what each of their steps adds to the logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.report.classes import UNKNOWN, Classes

#: Sequences of each kind that are kept: longest, most confident, wrong, drawn at random.
EACH = 20
#: Steps of a sequence that are kept, from its start.
MAX_STEPS = 300
#: Classes whose pushes are kept.
MAX_PUSHED = 12


@dataclass(frozen=True)
class Course:
    """One recorded sequence.

    Attributes
    ----------
    row : int
        Which sequence of the recording.
    length : int
        Recorded rows; what is kept below may be less.
    tokens : Tensor or None
        (time,) ids.
    path : Tensor
        (time, 3) states on the principal components, or (time + 1, 3) from the initial state on.
    from_start : bool
        Whether `path` begins with the initial state.
    push : Tensor or None
        (time, classes), what each step adds to each logit; NaN where the state before is unknown.
    label, predicted : int
        Class, or ``UNKNOWN``.
    confidence : float or None
        Probability of the predicted class.
    """

    row: int
    length: int
    tokens: Tensor | None
    path: Tensor
    from_start: bool
    push: Tensor | None
    label: int
    predicted: int
    confidence: float | None


@dataclass(frozen=True)
class Pushes:
    """What steps add to logits, or why that is not known.

    Attributes
    ----------
    classes : tuple of int
        Logits that are kept, the most frequent answers first where there are many.
    problem : str
        Why there are none.
    """

    classes: tuple[int, ...] = ()
    problem: str = ""


def courses(
    recording: Recording,
    readout: Readout | str,
    classes: Classes,
    logits: Tensor | None,
    path: Callable[[int], Tensor],
    *,
    seed: int,
) -> tuple[tuple[Course, ...], Pushes]:
    """Keep some sequences of a recording.

    Parameters
    ----------
    readout : Readout or str
        What reads the states, or why there is nothing that does.
    logits : Tensor or None
        (sequences, classes), at the last step.
    path : callable
        Sequence -> its states on the principal components, from the initial state on if known.
    seed : int
        Of the sequences drawn at random.
    """
    predicted = None if logits is None else classes.answers(logits)
    confidence = None if logits is None else classes.confidence(logits)
    rows = choose(recording.lengths, classes.labels, predicted, confidence, seed)
    pushes = _pushed(recording, readout, predicted)
    started = recording.initial is not None
    kept = []
    for row in rows:
        n = min(int(recording.lengths[row]), MAX_STEPS)
        push = None
        if isinstance(readout, Readout) and not pushes.problem:
            push = _push(recording[row : row + 1], readout, pushes.classes, n)
        kept.append(
            Course(
                row=row,
                length=int(recording.lengths[row]),
                tokens=None if recording.tokens is None else recording.tokens[row, :n].cpu(),
                path=path(row)[: n + started],
                from_start=started,
                push=push,
                label=UNKNOWN if classes.labels is None else int(classes.labels[row]),
                predicted=UNKNOWN if predicted is None else int(predicted[row]),
                confidence=None if confidence is None else float(confidence[row]),
            )
        )
    return tuple(kept), pushes


def choose(
    lengths: Tensor,
    labels: Tensor | None,
    predicted: Tensor | None,
    confidence: Tensor | None,
    seed: int,
) -> list[int]:
    """Up to ``EACH`` of the longest, most confident, wrong (surest first) and of all at random.

    All sequences that hold a step, where there are few. In the order of the recording.
    """
    lengths = lengths.cpu()
    every = (lengths > 0).nonzero().flatten()
    if len(every) <= 4 * EACH:
        return [int(i) for i in every]
    generator = torch.Generator().manual_seed(seed)
    rows = every[torch.randperm(len(every), generator=generator)[:EACH]].tolist()
    rows += every[lengths[every].argsort(descending=True, stable=True)[:EACH]].tolist()
    if confidence is not None:
        surest = every[confidence[every].argsort(descending=True, stable=True)]
        rows += surest[:EACH].tolist()
        if labels is not None and predicted is not None:
            wrong = (labels[surest] != UNKNOWN) & (labels[surest] != predicted[surest])
            rows += surest[wrong][:EACH].tolist()
    return sorted(set(rows))


def _pushed(recording: Recording, readout: Readout | str, predicted: Tensor | None) -> Pushes:
    if not isinstance(readout, Readout):
        return Pushes(problem=readout)
    if recording.meta.store.reduces:
        return Pushes(problem=f"of the states, {recording.meta.store} was kept: not every step")
    n = readout.n_classes
    if n <= MAX_PUSHED or predicted is None:
        return Pushes(tuple(range(min(n, MAX_PUSHED))))
    often = predicted.clamp(0, n - 1).bincount(minlength=n)
    return Pushes(tuple(often.argsort(descending=True, stable=True)[:MAX_PUSHED].tolist()))


def _push(one: Recording, readout: Readout, classes: tuple[int, ...], n: int) -> Tensor:
    """(n, classes), readout times the change of the state: W (s_t - s_(t-1)), in float64."""
    weight = readout.weight.detach()[list(classes)]
    logits = _read(one, weight)[:n]
    if one.initial is None:
        before = logits.new_full((1, len(classes)), torch.nan)
    else:
        before = one.initial.to("cpu", torch.float64) @ weight.to("cpu", torch.float64).T
    return logits - torch.cat([before, logits[:-1]])


def _read(one: Recording, weight: Tensor) -> Tensor:
    """(time, classes), inner products of every state with the weights; factors stay factors."""
    if one.kept is not None:
        return one.kept[0].to("cpu", torch.float64) @ weight.to("cpu", torch.float64).T
    return one.project(weight)[0].to("cpu", torch.float64)
