"""All pairs of some recordings: layers of one model, several models, several seeds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

import dynprobe
from dynprobe.errors import ShapeError, UnknownNameError, suggest
from dynprobe.similarity import conjugacy_distance, coordinates, dmd
from dynprobe_similarity.matrix import MEASURES, SimilarityMatrix, pairwise


def similarity_matrix(
    recordings: Mapping[str, dynprobe.Recording],
    measure: str = "cka",
    *,
    delays: int = 1,
    rank: int | None = None,
    seed: int = 0,
) -> SimilarityMatrix:
    """Compare recordings, each with each.

    Parameters
    ----------
    recordings : mapping of str to Recording
        Two or more. For "cka", "cca" and "procrustes" the states of the same steps of the same
        sequences, in one order; for "dsa" any trajectories.
    measure : {"cka", "cca", "procrustes", "dsa"}
        See :mod:`dynprobe.similarity`. Large states may be recorded as factors for all but "dsa",
        which needs them formed.
    delays, rank : int, optional
        Of "dsa": states that make one embedded state, and components that are kept, the same for
        all; by default as many as hold 99 % of the variance of the one that needs most, or as
        many as all of them have.
    seed : int
        Of "dsa": of the search for the best coordinates.

    Returns
    -------
    SimilarityMatrix
        With ``figure()``.

    Raises
    ------
    UnknownNameError
        For another measure.
    ShapeError
        If there are fewer than two recordings, or their steps do not correspond.

    Examples
    --------
    >>> import torch, dynprobe
    >>> from dynprobe_similarity import similarity_matrix
    >>> states = torch.randn(10, 20, 4, generator=torch.Generator().manual_seed(0))
    >>> one, two = (dynprobe.Recording.from_arrays(s) for s in (states, 2 * states.flip(2)))
    >>> round(similarity_matrix({"one": one, "two": two})["one", "two"], 6)
    1.0
    """
    if measure not in MEASURES:
        raise UnknownNameError(f"There is no measure {measure!r}. {suggest(measure, MEASURES)}")
    if len(recordings) < 2:
        raise ShapeError("Give two or more recordings: {'a': rec_a, 'b': rec_b}.")
    for recording in recordings.values():
        recording.check_finite()
    if measure == "dsa":
        return _dynamics(recordings, delays, rank, seed)
    _check_same_steps(recordings)
    return pairwise({name: _points(rec) for name, rec in recordings.items()}, measure)


def _points(rec: dynprobe.Recording) -> Tensor:
    """(valid steps, width); of states wider than there are steps, or never formed, as narrow."""
    formed = rec.kept is not None
    steps = int(rec.lengths.sum())
    if formed and rec.shape[2] <= steps:
        return rec.flat()
    return coordinates(rec.gram())


def _check_same_steps(recordings: Mapping[str, dynprobe.Recording]) -> None:
    (first, reference), *others = recordings.items()
    for name, rec in others:
        if not torch.equal(rec.lengths, reference.lengths):
            raise ShapeError(
                f"{first!r} holds {len(reference)} sequences of {_steps(reference)} steps, "
                f"{name!r} {len(rec)} of {_steps(rec)}: their points do not correspond. Run all "
                "models on the same sequences; 'dsa' compares dynamics without correspondence."
            )


def _steps(rec: dynprobe.Recording) -> str:
    low, high = int(rec.lengths.min()), int(rec.lengths.max())
    return str(low) if low == high else f"{low} to {high}"


def _dynamics(
    recordings: Mapping[str, dynprobe.Recording], delays: int, rank: int | None, seed: int
) -> SimilarityMatrix:
    courses = {
        name: [s[:n] for s, n in zip(rec.states, rec.lengths.tolist(), strict=True)]
        for name, rec in recordings.items()
    }
    if rank is None:
        alone = [dmd(course, delays=delays) for course in courses.values()]
        rank = min(max(fit.rank for fit in alone), min(fit.max_rank for fit in alone))
    fits = {name: dmd(course, delays=delays, rank=rank) for name, course in courses.items()}
    names = tuple(fits)
    values = torch.zeros(len(names), len(names), dtype=torch.float64)
    certain = torch.ones(len(names), len(names), dtype=torch.bool)
    for i, a in enumerate(names):
        for j, b in enumerate(names[:i]):
            found = conjugacy_distance(fits[a].matrix, fits[b].matrix, seed=seed)
            values[i, j] = values[j, i] = found.angle
            certain[i, j] = certain[j, i] = found.certain
    return SimilarityMatrix(names, values, "dsa", fits, certain)
