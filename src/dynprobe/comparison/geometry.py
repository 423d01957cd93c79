"""Geometry of every model's states at the same places: dimension, similarity, aligned planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dynprobe.dimension import components_for
from dynprobe.errors import LargeStatesError, ShapeError
from dynprobe.geometry.rotation import turned_onto
from dynprobe.geometry.similarity import cka, coordinates, procrustes
from dynprobe.recording import Recording
from dynprobe.recurrences.nulls import RANDOM
from dynprobe.recurrences.participation import LEADING, estimate
from dynprobe.recurrences.principal import PCA
from dynprobe.recurrences.state_matrix import PER_NORMALISER
from dynprobe.recurrences.states import per_normaliser
from dynprobe.report.comparison import Dimension, Plane, Similarity

#: Places compared, about; and numbers that states which are formed for it may be.
POINTS, NUMBERS = 2000, 1 << 26
#: Sequences drawn as paths of each class.
PATHS = 3


def dimension_of(recording: Recording, of: str, *, seed: int) -> tuple[Dimension, PCA]:
    """Spectrum of all visited states; beside a random-input null where they are matrices."""
    found, pca = _spectrum(recording, of, seed)
    if recording.has_factors:
        try:
            null, _ = _spectrum(recording.null(RANDOM, seed=seed), of, seed, own=True)
            found = replace(found, null=null)
        except ShapeError:  # sequences too short for one
            pass
    return found, pca


def _spectrum(
    recording: Recording, of: str, seed: int, *, own: bool = False
) -> tuple[Dimension, PCA]:
    # the products that a spectrum takes are ten times faster with states that are formed; those of
    # the caller stay as they are if they were asked for as factors
    mine = own or recording.complete
    if recording.kept is None and mine and math.prod(recording.shape) <= NUMBERS:
        recording.form_states()
    pca = recording.pca(LEADING, of=of, seed=seed)
    shares = pca.variance.to("cpu", torch.float64) / pca.total_variance
    if recording.has_factors:
        ratio = estimate(recording.matrix(of), pca, seed=seed)
    else:
        ratio = recording.participation_ratio(of, seed=seed)
    return Dimension(of, shares, ratio, _components(shares)), pca


def _components(shares: Tensor) -> int | None:
    """How many hold 95 % of all variance, not only of that in `shares`."""
    rest = torch.cat([shares, (1 - shares.sum()).clamp(min=0)[None]])
    n = components_for(rest, 0.95)
    return n if n <= len(shares) else None


def places(lengths: Tensor, width: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Draw places spread evenly over every sequence.

    Parameters
    ----------
    lengths : Tensor
        (sequences,).
    width : int
        Of the widest state there.

    Returns
    -------
    rows, steps : Tensor
        (chosen,) sequences and (chosen, k) steps: the j-th lies in the j-th of k equal stretches.
        Sequences of fewer than k steps are left out.
    """
    n, typical = len(lengths), int(lengths.median())
    generator = torch.Generator().manual_seed(seed)
    most = max(4, min(POINTS, NUMBERS // width))
    k = max(1, min(math.ceil(most / n), typical))
    rows = (lengths >= k).nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=generator)[: max(4, most // k)]].sort().values
    drawn = torch.rand(len(rows), k, generator=generator, dtype=torch.float64)
    where = (torch.arange(k) + drawn) / k * lengths[rows, None]
    return rows, where.long().minimum(lengths[rows, None] - 1)


def states_at(recording: Recording, of: str, rows: Tensor, steps: Tensor) -> Tensor:
    """(chosen, k, width), states at some places; no others are formed of factors."""
    if recording.kept is None and recording.has_factors:
        every = torch.zeros(len(recording), steps.shape[1], dtype=torch.int64)
        every[rows] = steps
        states = recording.factors.at(every)[rows]
    elif recording.complete:
        states = recording.states[rows[:, None], steps]
    else:
        raise LargeStatesError(f"every state is needed; recorded was {recording.meta.store}")
    if of == PER_NORMALISER:
        assert recording.form is not None
        states = per_normaliser(recording.form.matrix(states)).flatten(2)
    return states.to("cpu", torch.float64)


def similarity_of(states: dict[str, Tensor], *, seed: int) -> Similarity:
    """Compare every pair; states are (sequences, k, width) at the same places."""
    points = {name: _narrow(x.flatten(0, 1)) for name, x in states.items()}
    first = next(iter(states.values()))
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(seed))
    shuffled = {
        name: x.unflatten(0, first.shape[:2])[order].flatten(0, 1) for name, x in points.items()
    }
    n = len(points)
    found = {what: torch.eye(n, dtype=torch.float64) for what in ("cka", "control", "angle")}
    for i, x in enumerate(points.values()):
        for j, (b, y) in enumerate(points.items()):
            if j < i:
                continue
            values = {
                "cka": cka(x, y),
                "control": cka(x, shuffled[b]),
                "angle": procrustes(x, y),
            }
            for what, value in values.items():
                found[what][i, j] = found[what][j, i] = value
    return Similarity(tuple(points), points=first.shape[0] * first.shape[1], **found)


def _narrow(points: Tensor) -> Tensor:
    """The same inner products in no more columns than points."""
    if points.shape[1] <= len(points):
        return points
    centred = points - points.mean(0)
    return coordinates(centred @ centred.T)


def aligned_planes(
    spaces: dict[str, PCA], lengths: Tensor, rows: Sequence[int]
) -> dict[str, Plane]:
    """Every model's plane of two principal components, turned onto the first model's."""
    mask = torch.arange(next(iter(spaces.values())).scores.shape[1]) < lengths[:, None]
    out: dict[str, Plane] = {}
    target: Tensor | None = None
    for name, pca in spaces.items():
        scores = pca.scores.to("cpu", torch.float64)[..., :2]
        scores = torch.nn.functional.pad(scores, (0, 2 - scores.shape[-1]))
        visited = scores[mask]
        spread = float(visited.square().sum(1).mean().sqrt())
        scores = scores / (spread or 1.0)
        if target is None:
            target = scores[mask]
        scores = scores @ turned_onto(target, scores[mask])
        out[name] = Plane(
            ends=scores[torch.arange(len(scores)), lengths - 1],
            paths=tuple(scores[i, : lengths[i]] for i in rows),
            share=float(pca.variance[:2].double().sum() / pca.total_variance),
        )
    return out


def path_rows(lengths: Tensor, classes: Sequence[int]) -> list[int]:
    """A few sequences of each class, those of typical length first."""
    typical = lengths.to(torch.float64).median()
    order = (lengths - typical).abs().argsort(stable=True).tolist()
    rows: list[int] = []
    for c in sorted(set(classes)):
        rows += [i for i in order if classes[i] == c][:PATHS]
    return rows
