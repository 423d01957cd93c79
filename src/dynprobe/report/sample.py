"""Some of the states and sequences of a recording, few enough for a page that shows each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.readout import Readout
from dynprobe.recording import Recording
from dynprobe.report.classes import Classes, classes_of
from dynprobe.report.courses import Course, Pushes, courses

MAX_FINAL = 1000


@dataclass(frozen=True)
class Marks:
    """Recorded states, and where each comes from.

    Attributes
    ----------
    points : Tensor
        (points, 3), on the principal components.
    sequence, step : Tensor
        (points,), which sequence of the recording, and after how many steps (from 1).
    token : Tensor or None
        (points,), id of the token that led there.
    label, predicted : Tensor or None
        (points,), class of the sequence; class that the readout gives this state.
    """

    points: Tensor
    sequence: Tensor
    step: Tensor
    token: Tensor | None
    label: Tensor | None
    predicted: Tensor | None


@dataclass(frozen=True)
class Sample:
    """What the page can show one by one; bounded, whatever the size of the recording.

    Attributes
    ----------
    visited : Marks
        Drawn at random from all valid states.
    final : Marks
        Last states of sequences, drawn at random from all.
    courses : tuple of Course
        Whole sequences, see :func:`dynprobe.report.courses.choose`.
    sequences_seen : int
        In the recording, those without a step left out.
    classes : Classes
        Names of what `label` and `predicted` count.
    pushes : Pushes
        Which logits the courses tell of, or why none.
    words : dict
        Name of each token id that occurs here, where there is a vocabulary.
    logits : tuple of str
        Name of each logit.
    seed : int
        Of every draw.
    """

    visited: Marks
    final: Marks
    courses: tuple[Course, ...]
    sequences_seen: int
    classes: Classes
    pushes: Pushes
    words: dict[int, str]
    logits: tuple[str, ...]
    seed: int


def sample_of(
    recording: Recording,
    readout: Readout | str,
    index: Tensor,
    points: Tensor,
    states: Tensor | None,
    path: Callable[[int], Tensor],
    ends: Callable[[Tensor], Tensor],
    *,
    seed: int,
) -> Sample:
    """Draw a sample of a recording.

    Parameters
    ----------
    readout : Readout or str
        What reads the states, or why there is nothing that does.
    index : Tensor
        (points,), which of the valid states, sequence after sequence, are shown.
    points, states : Tensor
        (points, 3) and (points, state_dim), these; no states where they are not formed.
    path : callable
        Sequence -> (time, 3), from the initial state on where that is known.
    ends : callable
        (n,) sequences -> (n, 3), their last states.
    seed : int
        Of what else is drawn.
    """
    linear = readout if isinstance(readout, Readout) else None
    logits = recording.final_logits
    if logits is None and linear is not None:
        logits = linear(recording.final.to(linear.weight))
    n_logits = linear.n_classes if linear is not None else None
    classes = classes_of(recording, logits.shape[-1] if logits is not None else n_logits)
    if not classes.told_apart:
        logits = None
    kept, pushes = courses(recording, readout, classes, logits, path, seed=seed)
    predicted = None
    if linear is not None and states is not None and classes.told_apart:
        predicted = classes.answers(linear(states.to(linear.weight)))
    where = recording.mask.cpu().nonzero()[index]
    visited = _marks(recording, classes, where, points, predicted)
    generator = torch.Generator().manual_seed(seed)
    ended = (recording.lengths > 0).nonzero().flatten()
    rows = ended[torch.randperm(len(ended), generator=generator)[:MAX_FINAL]]
    final = _marks(
        recording,
        classes,
        torch.stack([rows, recording.lengths[rows] - 1], dim=1),
        ends(rows),
        None if logits is None else classes.answers(logits)[rows],
    )
    return Sample(
        visited=visited,
        final=final,
        courses=kept,
        sequences_seen=len(ended),
        classes=classes,
        pushes=pushes,
        words=_words(recording, visited, final, kept),
        logits=_logit_names(recording, n_logits or 0),
        seed=seed,
    )


def _marks(
    recording: Recording, classes: Classes, where: Tensor, points: Tensor, predicted: Tensor | None
) -> Marks:
    """`where`: (points, 2), sequence and row of each."""
    sequence, row = where.unbind(1)
    tokens, labels, steps = recording.tokens, classes.labels, recording.steps
    return Marks(
        points=points,
        sequence=sequence,
        step=(row if steps is None else steps.cpu()[sequence, row]) + 1,
        token=None if tokens is None else tokens.cpu()[sequence, row],
        label=None if labels is None else labels[sequence],
        predicted=predicted,
    )


def _words(
    recording: Recording, visited: Marks, final: Marks, kept: tuple[Course, ...]
) -> dict[int, str]:
    """Names of the tokens that occur: a vocabulary may be larger than the page."""
    names = recording.meta.vocabulary
    if names is None or visited.token is None or final.token is None:
        return {}
    told = [course.tokens for course in kept if course.tokens is not None]
    ids = torch.cat([visited.token, final.token, *told]).unique().tolist()
    return {i: names[i] for i in ids if 0 <= i < len(names)}


def _logit_names(recording: Recording, n: int) -> tuple[str, ...]:
    """One logit tells two classes apart: it is that of the second."""
    names = recording.meta.classes or ()
    if n == 1:
        return (names[1] if len(names) > 1 else "class 1",)
    return tuple(names[i] if i < len(names) else f"class {i}" for i in range(n))
