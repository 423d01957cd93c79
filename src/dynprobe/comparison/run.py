"""Comparing models: the same measures of each, on the same sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from dynprobe.analyzers.answers import IGNORED, Labels
from dynprobe.comparison.geometry import (
    aligned_planes,
    dimension_of,
    path_rows,
    places,
    similarity_of,
    states_at,
)
from dynprobe.comparison.mechanism import Mechanism, mechanism_of
from dynprobe.comparison.sides import Answers, Given, Side, sides_of
from dynprobe.comparison.table import memory_rows, model_rows, stream_rows
from dynprobe.comparison.verdict import answers, geometry, mechanism, unlearned, verdict
from dynprobe.recording import Recording
from dynprobe.recurrences.principal import PCA
from dynprobe.recurrences.state_matrix import STATE
from dynprobe.report.comparison import MEMORY, STREAM, Comparison, Dimension, Plane, Similarity

#: Called as progress(stage, done, total).
Progress = Callable[[str, int, int], None]
Spaces = dict[str, tuple[Dimension, PCA] | str]


@torch.no_grad()
def compare(
    models: Mapping[str, Given],
    *,
    layers: Mapping[str, str] | None = None,
    details: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Put models side by side that were recorded on the same sequences.

    Two notions of state are kept apart: the *stream*, the vectors that the linear classifier reads,
    and the *memory*, the state that the recurrence carries. An analysis that fails leaves its
    reason in the table.

    Parameters
    ----------
    models : mapping
        Name -> Probe, or (Probe, Stream) where the classifier does not read the recurrence's state.
        The first one is what the others are held against.
    layers : mapping, optional
        Name -> key of the recurrence that is the memory; the last one of each model by default.
    details : mapping, optional
        Name -> what to say about how a model came to be, such as its training.
    seed : int
        Seed of everything random.
    progress : callable, optional
        ``progress(stage, done, total)``.

    Returns
    -------
    Comparison
        Printable, and ``save("compare.html")``.

    Raises
    ------
    ShapeError
        If there are fewer than two models, or they did not see the same sequences.
    NothingRecordedError, NonFiniteStatesError
        If there are no states of a model, or they hold NaN or Inf.

    Examples
    --------
    >>> import torch, dynprobe
    >>> x = torch.randn(20, 9, 4)
    >>> probes = {}
    >>> for cell in (torch.nn.GRU, torch.nn.LSTM):
    ...     model = cell(4, 6, batch_first=True)
    ...     with dynprobe.attach(model, readout=(torch.eye(3, 6), None)) as probe:
    ...         _ = model(x)
    ...     probes[cell.__name__] = probe
    >>> dynprobe.compare(probes).names
    ('GRU', 'LSTM')
    """
    sides = sides_of(models, layers)
    tell = progress or (lambda stage, done, total: None)
    tell("geometry", 0, 2 * len(sides))
    stream: Spaces = {}
    memory: Spaces = {}
    for i, side in enumerate(sides):
        stream[side.name] = _space(side.stream, STATE, seed)
        tell("geometry", 2 * i + 1, 2 * len(sides))
        memory[side.name] = _space(side.memory, STATE, seed)
        tell("geometry", 2 * i + 2, 2 * len(sides))
    read: Spaces = {
        s.name: "no normaliser: its state is read as it is"
        if s.memory_of == STATE
        else _space(s.memory, s.memory_of, seed)
        for s in sides
    }
    own = {s.name: memory[s.name] if s.memory_of == STATE else read[s.name] for s in sides}
    mechanisms = {side.name: _mechanism(side, memory[side.name], seed, tell) for side in sides}

    labels = next((s.labels for s in sides if s.labels is not None), None)
    answered = {s.name: s.answers(labels) for s in sides}
    judged = next((a.labels for a in answered.values() if a and a.labels.values is not None), None)
    rows = [
        *model_rows(sides, answered),
        *stream_rows(sides, _dimensions(stream)),
        *memory_rows(sides, _dimensions(memory), _dimensions(read), mechanisms),
    ]
    similarity = {
        notion: found
        for notion, found in (
            (STREAM, _similarity({s.name: (s.stream, STATE) for s in sides}, seed)),
            (MEMORY, _similarity({s.name: (s.memory, s.memory_of) for s in sides}, seed)),
        )
        if found is not None
    }
    by_measure = {row.measure: row for row in rows if row.notion == "model"}
    chance = None if judged is None or judged.values is None else judged.chance(judged.values)
    lengths = sides[0].memory.lengths
    asked = f"{len(lengths):,} sequences"
    if judged is not None and judged.of_each:
        asked = f"the labels of {asked}"
    findings = (
        answers(by_measure["accuracy"], by_measure["same answer"], chance, asked),
        geometry(similarity.get(STREAM), _dimensions(stream)),
        mechanism(mechanisms, float(lengths.to(torch.float64).median())),
    )
    classes = _classes(judged, answered, len(lengths))
    chosen = path_rows(lengths, classes)
    planes: dict[tuple[str, str], Plane] = {}
    for notion, spaces in ((STREAM, stream), (MEMORY, own)):
        pcas = {n: found[1] for n, found in spaces.items() if not isinstance(found, str)}
        for name, plane in aligned_planes(pcas, lengths, chosen).items():
            planes[notion, name] = plane
    return Comparison(
        names=tuple(s.name for s in sides),
        verdict=verdict(findings, unlearned(by_measure["accuracy"], chance)),
        findings=findings,
        rows=tuple(rows),
        similarity=similarity,
        dimensions={
            (notion, name): found
            for notion, spaces in ((STREAM, stream), (MEMORY, own))
            for name, found in _dimensions(spaces).items()
            if isinstance(found, Dimension)
        },
        planes=planes,
        end_classes=tuple(classes),
        path_classes=tuple(classes[i] for i in chosen),
        classes=_names(sides, classes),
        details={n: dict(told) for n, told in (details or {}).items()},
        seed=seed,
    )


def _space(recording: Recording | str, of: str, seed: int) -> tuple[Dimension, PCA] | str:
    if isinstance(recording, str):
        return recording
    try:
        return dimension_of(recording, of, seed=seed)
    except Exception as error:  # one model's trouble is a cell of the table
        return f"{type(error).__name__}: {error}"


def _mechanism(
    side: Side, space: tuple[Dimension, PCA] | str, seed: int, tell: Progress
) -> Mechanism | str:
    if isinstance(space, str):
        return space

    def progress(analyzer: str, layer: str, done: int, total: int) -> None:
        tell(f"{analyzer} of {side.name}", done, total)

    ratio = space[0].participation_ratio
    try:
        return mechanism_of(side, space[1], ratio, seed=seed, progress=progress)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _dimensions(spaces: Spaces) -> dict[str, Dimension | str]:
    return {n: found if isinstance(found, str) else found[0] for n, found in spaces.items()}


def _similarity(given: dict[str, tuple[Recording | str, str]], seed: int) -> Similarity | None:
    """Of the models that have such states; None where there are not two."""
    known = {n: (r, of) for n, (r, of) in given.items() if not isinstance(r, str)}
    if len(known) < 2:
        return None
    lengths = next(iter(known.values()))[0].lengths
    rows, steps = places(lengths, max(r.layout.size for r, _ in known.values()), seed=seed)
    states = {}
    for name, (recording, of) in known.items():
        try:
            found = states_at(recording, of, rows, steps)
        except Exception:  # why is in the table, with the dimension
            continue
        if float(found.flatten(0, 1).var(0).sum()) > 0:
            states[name] = found
    return similarity_of(states, seed=seed) if len(states) > 1 else None


def _classes(labels: Labels | None, answered: dict[str, Answers | None], n: int) -> list[int]:
    """Label of each sequence, else what the first model says of it; -1 where nobody says."""
    said = next((a.largest for a in answered.values() if a), torch.full((n,), -1))
    if labels is None or labels.values is None or labels.of_each:
        return [int(c) for c in said]
    return [int(c) for c in torch.where(labels.values == IGNORED, said, labels.values)]


def _names(sides: list[Side], classes: list[int]) -> tuple[str, ...]:
    known = next((s.memory.meta.classes for s in sides if s.memory.meta.classes), ())
    return (*known, *(f"class {i}" for i in range(len(known), max(classes, default=-1) + 1)))
