"""Every number of one trained network: of the model, of its stream, of its memories."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from dynprobe.analysis import analyze
from dynprobe.analyzers.answers import Labels
from dynprobe.comparison.geometry import dimension_of
from dynprobe.comparison.mechanism import Mechanism, mechanism_of
from dynprobe.comparison.table import median_left
from dynprobe.geometry.moments import Moments
from dynprobe.geometry.simplex import readout_geometry
from dynprobe.recording import Recording
from dynprobe.recurrences.state_matrix import STATE
from dynprobe.study.reproduce.pushes import mean_steps
from dynprobe.study.survey.horizon import horizon
from dynprobe.study.survey.memory_readout import alignment, linear_share, memory_readout
from dynprobe.study.survey.readers import Read, reader
from dynprobe.study.survey.rows import COMPLETE, MEMORY, MODEL, STREAM
from dynprobe.study.survey.shares import between, explained
from dynprobe.study.survey.views import View, forgetting, views
from dynprobe.study.survey.watched import Watched, record
from dynprobe.tasks import shuffled
from dynprobe.tasks.shuffle import scattered

#: Sequences on whose every step deflections are compared, and time constants kept.
DEFLECTED, SLOWEST = 48, 4
#: A number: what it is about, its name, itself.
Number = tuple[str, str, float]


def brief_measures(watched: Watched) -> Iterator[Number]:
    """What is measured of every network of the grid."""
    yield MODEL, "validation loss", watched.loss
    yield MODEL, "validation accuracy", watched.validation_accuracy
    yield from _dimension(STREAM, "", watched.stream, STATE)
    for view in views([side.memory.form for side in watched.sides]):
        yield from _dimension(MEMORY, view.prefix, watched.sides[view.layer].memory, view.of)


def full_measures(watched: Watched, dims: int, *, seed: int) -> Iterator[Number]:
    """All the rest. A part that fails is a row that says so, and the others stand.

    Parameters
    ----------
    dims : int
        Dimensions that the task asks for.
    seed : int
        Of everything random.
    """
    parts: list[tuple[str, Callable[[], Iterator[Number]]]] = [
        (MODEL, lambda: model_measures(watched, seed)),
        (STREAM, lambda: stream_measures(watched, dims, seed)),
        (MEMORY, lambda: memory_measures(watched, seed)),
        (MEMORY, lambda: mechanism_measures(watched, seed)),
    ]
    for notion, part in parts:
        try:
            yield from list(part())
        except Exception as error:
            yield notion, f"failed: {type(error).__name__}: {error}", math.nan
    yield MODEL, COMPLETE, 1.0


def model_measures(watched: Watched, seed: int) -> Iterator[Number]:
    """Whether order matters to the answer, and how far back a word counts."""
    given, model = watched.given, watched.model
    with torch.no_grad():
        other = shuffled(given.batch, seed=seed)
        before, after = (model(b.tokens, b.lengths) for b in (given.batch, other))
    labels = Labels.of(given.batch.labels, before.shape[1])
    same = labels.answers(before) == labels.answers(after)
    yield (
        MODEL,
        "same answer in random order",
        float(same.reshape(len(same), -1).all(1).double().mean()),
    )
    found = horizon(model, given.batch, given.exchanges)
    yield MODEL, "memory horizon, half lag", found.half_lag
    for lag, share in zip(found.lags, found.relative.tolist(), strict=True):
        yield MODEL, f"memory horizon at lag {lag}", share


def stream_measures(watched: Watched, dims: int, seed: int) -> Iterator[Number]:
    """What the classifier reads: its parts, its readouts, pushes of words."""
    stream = watched.stream
    yield from _shares(STREAM, "", stream.states[stream.mask], watched, stream)
    readout = stream.readout
    assert readout is not None
    yield from _angles(STREAM, "", readout.weight)
    found = analyze(stream, ["components_accuracy"], seed=seed)["components_accuracy"]
    yield STREAM, "components the readout needs", float(found.needed)
    scores = found.agreement if found.accuracy is None else found.accuracy
    for d, score in zip(found.dims.tolist(), scores.tolist(), strict=True):
        if d <= 8:
            yield STREAM, f"accuracy on {d} components", score
    _, components = Moments.of(stream.states[stream.mask].double()).principal_components()
    pushes = mean_steps(stream, components[:dims])
    neutral = watched.given.task.vocabulary[watched.given.probe_words[0]]
    size = pushes.inside.norm(dim=1)
    still = torch.tensor([word == neutral for word in pushes.words])
    yield STREAM, "push of evidence inside", float(size[~still].mean())
    if bool(still.any()):
        yield STREAM, "push of the neutral word inside", float(size[still].mean())


def memory_measures(watched: Watched, seed: int) -> Iterator[Number]:
    """What recurrences carry: its parts, a null, its linear readout, deflections."""
    given = watched.given
    null = record(watched.model, scattered(given.batch, seed=seed), given.task)
    margins = not given.several
    final = [side.memory.final.float() for side in watched.sides]
    mask = watched.sides[0].memory.mask
    read = reader(watched.model, watched.sides, given.probe_words[0])
    others = [reader(watched.model, watched.sides, word) for word in given.probe_words[1:]]
    foreseen: list[Tensor] = []
    for view in views([side.memory.form for side in watched.sides]):
        memory = watched.sides[view.layer].memory
        for _, name, value in _dimension(MEMORY, view.prefix, null[view.layer].memory, view.of):
            yield MEMORY, f"{name}, random inputs", value
        points = view.values(memory.states[mask])
        yield from _shares(MEMORY, view.prefix, points, watched, memory)
        own = memory_readout(
            view.reading(read, final), view.values(final[view.layer]), margins=margins
        )
        yield MEMORY, f"{view.prefix}share of the logits its linear readout explains", own.share
        if len(own.weight) > 1:
            yield from _angles(MEMORY, view.prefix, own.weight)
        aside = [
            memory_readout(view.reading(r, final), view.values(final[view.layer]), margins=margins)
            for r in others
        ]
        if aside:
            yield (
                MEMORY,
                f"{view.prefix}the same, least over probe words",
                min(own.share, *(a.share for a in aside)),
            )
            cosines = [_cosine(own.weight, a.weight, margins) for a in aside]
            yield MEMORY, f"{view.prefix}readout, least cosine with other probe words", min(cosines)
        yield from _deflections(view, read, own.weight, watched, margins)
        if view.of == STATE:
            foreseen.append(view.values(final[view.layer]).double() @ own.weight.T)
    if len(foreseen) > 1:
        with torch.no_grad():
            logits = read(final)
        together = linear_share(logits, torch.stack(foreseen).sum(0), margins=margins)
        yield MEMORY, "all layers: share of the logits their linear readouts explain", together


def mechanism_measures(watched: Watched, seed: int) -> Iterator[Number]:
    """What keeps each memory: pushes, fixed points, time constants."""
    for view in views([side.memory.form for side in watched.sides]):
        side = watched.sides[view.layer]
        if view.of != STATE:
            memory = side.memory
            assert memory.inputs is not None
            assert view.form is not None
            every, last = torch.arange(len(memory)), memory.lengths - 1
            tau = forgetting(view.form, memory.inputs[every, last], memory.final)
            yield MEMORY, f"{view.prefix}time constant at the end", tau
            continue
        found, space = dimension_of(side.memory, STATE, seed=seed)
        mechanism = mechanism_of(side, space, found.participation_ratio, seed=seed)
        yield from _mechanism(view.prefix, mechanism)


def _mechanism(prefix: str, m: Mechanism) -> Iterator[Number]:
    yield MEMORY, f"{prefix}affine in the state", float(m.affine)
    if isinstance(m.push, str):
        yield MEMORY, f"{prefix}failed: push: {m.push}", math.nan
    else:
        yield MEMORY, f"{prefix}left of a push off the manifold", median_left(m.push.off)
        half = float(m.push.off.half_life.quantile(0.5, interpolation="nearest"))
        yield MEMORY, f"{prefix}half-life of a push off the manifold", half
        if m.push.along is not None:
            yield MEMORY, f"{prefix}left of a push along the manifold", median_left(m.push.along)
    if m.eigenvalues is not None:
        # an eigenvalue of 1 never forgets
        moduli = m.eigenvalues.double().sort(descending=True).values[:SLOWEST]
        taus = [math.inf if v >= 1 else -1 / math.log(v) if v > 0 else 0.0 for v in moduli.tolist()]
    elif isinstance(m.slow, str):
        yield MEMORY, f"{prefix}failed: time constants: {m.slow}", math.nan
        return
    else:
        taus = m.slow.time_constants[:SLOWEST, 1].tolist()
    for i, tau in enumerate(taus):
        yield MEMORY, f"{prefix}time constant {i + 1}", tau
    if m.eigenvalues is None and not isinstance(m.points, str):
        yield MEMORY, f"{prefix}distinct fixed points", float(len(m.points.unique))


def _dimension(notion: str, prefix: str, recording: Recording, of: str) -> Iterator[Number]:
    found, _ = dimension_of(recording, of, seed=0)
    yield notion, f"{prefix}participation ratio", found.participation_ratio
    many = math.inf if found.components_95 is None else float(found.components_95)
    yield notion, f"{prefix}components for 95 %", many


def _shares(
    notion: str, prefix: str, points: Tensor, watched: Watched, like: Recording
) -> Iterator[Number]:
    """Shares of the variance of all visited states, (points, dim), in the order of the mask."""
    assert like.tokens is not None
    tokens, mask = like.tokens, like.mask
    scores = watched.given.evidence[tokens].cumsum(1)
    steps = torch.arange(1, tokens.shape[1] + 1)
    position = steps.expand_as(mask)[mask]
    so_far = scores[mask]
    yield notion, f"{prefix}share explained by evidence so far", explained(points, so_far)
    means = so_far / position[:, None]
    yield notion, f"{prefix}share explained by mean evidence", explained(points, means)
    yield notion, f"{prefix}share explained by the word", between(points, tokens[mask])
    yield notion, f"{prefix}share explained by the position", between(points, position)


def _angles(notion: str, prefix: str, weight: Tensor) -> Iterator[Number]:
    found = readout_geometry(weight)
    pairs = found.pair_angles
    yield notion, f"{prefix}readout angle, smallest", float(pairs.min())
    yield notion, f"{prefix}readout angle, mean", float(pairs.mean())
    yield notion, f"{prefix}readout angle, largest", float(pairs.max())
    inside = float(found.norm_in_span.mean())
    yield notion, f"{prefix}readout norm inside the span of the others", inside


@torch.no_grad()
def _deflections(
    view: View, read: Read, weight: Tensor, watched: Watched, margins: bool
) -> Iterator[Number]:
    """Whether what a word does to the memory, read out linearly, is what it does to the logits."""
    memories = [side.memory.states[:DEFLECTED].float() for side in watched.sides]
    mask = watched.sides[0].memory.mask[:DEFLECTED]
    at = [m[mask] for m in memories]
    logits = torch.zeros(*mask.shape, len(weight), dtype=torch.float64)
    logits[mask] = read(at).double()
    foreseen = torch.zeros_like(logits)
    foreseen[mask] = view.values(at[view.layer]).double() @ weight.T
    both = mask[:, 1:] & mask[:, :-1]
    changes, predicted = ((x[:, 1:] - x[:, :-1])[both] for x in (logits, foreseen))
    found = alignment(changes, predicted, margins=margins)
    yield MEMORY, f"{view.prefix}deflections, cosine with the change of the logits", found


def _cosine(a: Tensor, b: Tensor, margins: bool) -> float:
    if margins and len(a) > 1:
        a, b = a - a.mean(0), b - b.mean(0)
    return float((a * b).sum() / (a.norm() * b.norm()))
