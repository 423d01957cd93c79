"""The causal test of an integrator: its sequences once more, with and without its slow modes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.answers import Labels
from dynprobe.analyzers.replay import Replay
from dynprobe.analyzers.results import Result
from dynprobe.dynamics.ablation import Mode, Rolls, edit_of, rotated
from dynprobe.dynamics.rounding import relative, root_mean_square, rounding_level
from dynprobe.readout import Readout
from dynprobe.recording import Recording


@dataclass(frozen=True)
class Outcome(Result):
    """What an edited run says at the end of the sequences.

    Attributes
    ----------
    accuracy : float or None
        Share of the known labels that it gets right; None without labels that fit.
    agreement : float
        Share of its predictions that are those of the unedited run.
    logit_change : float
        Mean |change| of a logit. Where there are several, after subtracting their mean, which no
        softmax can see.
    logit_spread : float
        Root mean square deviation of the logits from their mean over the sequences, as a share of
        that of the unedited run, NaN where that has none: how much is left of what tells one
        sequence from another. An accuracy above chance at a spread near 0 is read off a remnant,
        such as the last token's push in the fast modes, that no longer counts evidence.
    """

    accuracy: float | None
    agreement: float
    logit_change: float
    logit_spread: float

    @property
    def score(self) -> float:
        """Accuracy where labels are known, else agreement."""
        return self.agreement if self.accuracy is None else self.accuracy


@dataclass(frozen=True)
class ModeAblation(Result):
    """Recorded sequences, run again with some modes kept alone, or removed, at every step.

    They are the slow modes of one point, see :class:`dynprobe.analyzers.slow_modes.SlowModes`.

    Attributes
    ----------
    rank : int
        Dimensions of the subspace.
    n_modes : int
        Modes there are, the width of the state: of as many, all are kept or removed.
    point : int
        Whose modes they are: row among the linearised points, the one nearest to the mean state;
        it is the origin around which the state is edited.
    obliqueness : float
        Norm of the projector: 1 where it is orthogonal.
    n_sequences : int
        Sequences that were run.
    n_labelled : int
        Those of them that accuracies are of: with a label that fits and is not -100.
    labels_problem : str
        Why there is no accuracy although there are labels; else empty.
    chance : float
        What one answer to every sequence scores at best: the share of the most frequent label, or,
        without accuracy, of the most frequent answer of the unedited run.
    unedited : Outcome
        Of the map run without an edit.
    replay_error : float
        Distance of its final states from the recorded ones, over the spread of these; NaN where
        these are all one state, up to rounding.
    keep, remove : Outcome
        With these modes kept alone, and removed.
    random_keep, random_remove : tuple of Outcome
        The same with random directions, see :func:`dynprobe.dynamics.ablation.rotated`; one for
        each seed.
    """

    rank: int
    n_modes: int
    point: int
    obliqueness: float
    n_sequences: int
    n_labelled: int
    labels_problem: str
    chance: float
    unedited: Outcome
    replay_error: float
    keep: Outcome
    remove: Outcome
    random_keep: tuple[Outcome, ...]
    random_remove: tuple[Outcome, ...]

    @property
    def of_all(self) -> bool:
        """Whether every mode is kept or removed, so that the test tells nothing."""
        return self.rank == self.n_modes


def ablate_modes(
    system: Rolls,
    recording: Recording,
    readout: Readout,
    projector: Tensor,
    origin: Tensor,
    *,
    rank: int,
    point: int,
    n_sequences: int,
    n_random: int,
    seed: int,
) -> ModeAblation | None:
    """Run the test; None where no recorded sequence has inputs for a step after a known state.

    Parameters
    ----------
    system : Recurrence
        The map; it runs in the dtype of the recorded states, at least float32.
    projector, origin : Tensor
        (n, n) and (n,), see :mod:`dynprobe.dynamics.ablation`.
    n_sequences : int
        At most so many, drawn at random.
    n_random : int
        Seeds of random directions.
    seed : int
        Of both draws.
    """
    runs = Replay.of(recording, n_sequences, seed)
    if runs is None:
        return None
    plain = runs.final(system)
    logits = readout(plain)
    labels = Labels.of(runs.labels, readout.n_classes)
    answers = labels.answers(logits)
    level = rounding_level(root_mean_square(runs.recorded), runs.dtype).cpu()
    error, spread = (
        root_mean_square(d).cpu()
        for d in (plain - runs.recorded, runs.recorded - runs.recorded.double().mean(0))
    )
    # what rounding of the states can do to logits
    blur = level * readout.weight.double().norm().cpu()

    def outcome_of(edited: Tensor) -> Outcome:
        return _compare(edited, logits, labels, blur)

    def outcome(projector: Tensor, mode: Mode) -> Outcome:
        edit = edit_of(projector.to(runs.start), origin.to(runs.start), mode)
        return outcome_of(readout(runs.final(system, edit)))

    controls = [rotated(projector, seed=seed + 1 + i) for i in range(n_random)]
    return ModeAblation(
        rank=rank,
        n_modes=len(projector),
        point=point,
        obliqueness=float(torch.linalg.matrix_norm(projector, 2)),
        n_sequences=len(plain),
        n_labelled=labels.n_sequences,
        labels_problem=labels.problem,
        chance=labels.chance(answers),
        unedited=outcome_of(logits),
        replay_error=float(relative(error, spread, level)),
        keep=outcome(projector, "keep"),
        remove=outcome(projector, "remove"),
        random_keep=tuple(outcome(p, "keep") for p in controls),
        random_remove=tuple(outcome(p, "remove") for p in controls),
    )


def _compare(logits: Tensor, unedited: Tensor, labels: Labels, blur: Tensor) -> Outcome:
    given, before = labels.answers(logits), labels.answers(unedited)
    logits, unedited = logits.double().cpu(), unedited.double().cpu()
    if logits.shape[1] > 1 and not labels.of_each:
        logits, unedited = (x - x.mean(1, keepdim=True) for x in (logits, unedited))
    spread, whole = (root_mean_square(x - x.mean(0)) for x in (logits, unedited))
    return Outcome(
        accuracy=labels.accuracy(given),
        agreement=float((given == before).double().mean()),
        logit_change=float((logits - unedited).abs().mean()),
        logit_spread=float(relative(spread, whole, blur)),
    )
