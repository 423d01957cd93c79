"""The causal test of an integrator: its sequences once more, with and without its slow modes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.results import Result
from dynprobe.dynamics.ablation import Mode, Rolls, edit_of, rotated
from dynprobe.readout import Readout
from dynprobe.recording import Recording

#: Sequences that are run at once.
BATCH = 64


@dataclass(frozen=True)
class Outcome(Result):
    """What an edited run says at the end of the sequences.

    Attributes
    ----------
    accuracy : float or None
        Share of the labels that it gets right; None without labels.
    agreement : float
        Share of its predictions that are those of the unedited run.
    logit_change : float
        Mean |change| of a logit. Where there are several, after subtracting their mean, which no
        softmax can see.
    logit_spread: float
        Root mean square deviation of the logits from their mean over the sequences, as a share of
        that of the unedited run: how much is left of what tells one sequence from another. An
        accuracy above chance at a spread near 0 is read off a remnant, such as the last token's
        push in the fast modes, that no longer counts evidence.
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

    They are those of one point that are forgotten last, of largest |lambda|: near the middle of an
    integrator's manifold its own modes grow a little, and a fading mode that integrates nothing may
    have a longer time constant than they.

    Attributes
    ----------
    rank : int
        Dimensions of the subspace.
    point : int
        Whose modes they are: row among the linearised points, the one nearest to the mean state;
        it is the origin around which the state is edited.
    obliqueness : float
        Norm of the projector: 1 where it is orthogonal.
    n_sequences : int
        Sequences that were run.
    chance : float or None
        Share of the most frequent label; None without labels.
    unedited : Outcome
        Of the map run without an edit.
    replay_error : float
        Distance of its final states from the recorded ones, over the spread of these.
    keep, remove : Outcome
        With these modes kept alone, and removed.
    random_keep, random_remove : tuple of Outcome
        The same with random directions, see :func:`dynprobe.dynamics.ablation.rotated`; one for
        each seed.
    """

    rank: int
    point: int
    obliqueness: float
    n_sequences: int
    chance: float | None
    unedited: Outcome
    replay_error: float
    keep: Outcome
    remove: Outcome
    random_keep: tuple[Outcome, ...]
    random_remove: tuple[Outcome, ...]


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
    runs = _Replay.of(recording, n_sequences, seed)
    if runs is None:
        return None
    plain = runs.final(system, None, origin, "keep")
    logits = readout(plain)
    spread = (runs.recorded - runs.recorded.mean(0)).norm()

    def outcome(projector: Tensor, mode: Mode) -> Outcome:
        return _compare(readout(runs.final(system, projector, origin, mode)), logits, runs.labels)

    controls = [rotated(projector, seed=seed + 1 + i) for i in range(n_random)]
    chance = None
    if runs.labels is not None:
        chance = _most_frequent(runs.labels)
    return ModeAblation(
        rank=rank,
        point=point,
        obliqueness=float(torch.linalg.matrix_norm(projector, 2)),
        n_sequences=len(plain),
        chance=chance,
        unedited=_compare(logits, logits, runs.labels),
        replay_error=float((plain - runs.recorded).norm() / spread) if float(spread) else 0.0,
        keep=outcome(projector, "keep"),
        remove=outcome(projector, "remove"),
        random_keep=tuple(outcome(p, "keep") for p in controls),
        random_remove=tuple(outcome(p, "remove") for p in controls),
    )


@dataclass(frozen=True)
class _Replay:
    """Sequences to run: (n, ...), of which the first `lengths` inputs are valid."""

    start: Tensor
    inputs: Tensor
    lengths: Tensor
    recorded: Tensor
    labels: Tensor | None

    @classmethod
    def of(cls, rec: Recording, n: int, seed: int) -> _Replay | None:
        if rec.inputs is None:
            return None
        # without the initial state, from the first recorded one on
        skip = 1 if rec.initial is None else 0
        able = (rec.lengths > skip).nonzero().flatten()
        if len(able) == 0:
            return None
        generator = torch.Generator().manual_seed(seed)
        rows = able[torch.randperm(len(able), generator=generator)[:n]].sort().values
        states = rec.states
        dtype = torch.promote_types(states.dtype, torch.float32)
        at = rows.to(states.device)
        start = states[at, 0] if rec.initial is None else rec.initial[at]
        return cls(
            start.to(dtype),
            rec.inputs[at, skip:].to(dtype),
            (rec.lengths[rows] - skip).to(states.device),
            rec.final[at].to(dtype),
            None if rec.labels is None else rec.labels.cpu()[rows.cpu()],
        )

    def final(self, system: Rolls, projector: Tensor | None, origin: Tensor, mode: Mode) -> Tensor:
        """(n, state_dim), the last valid states of a run; without projector an unedited one."""
        edit = None
        if projector is not None:
            edit = edit_of(projector.to(self.start), origin.to(self.start), mode)
        out = []
        for rows in torch.arange(len(self.start), device=self.start.device).split(BATCH):
            last = self.lengths[rows] - 1
            inputs = self.inputs[rows, : int(last.max()) + 1]
            states = system.rollout(self.start[rows], inputs, edit)
            out.append(states[torch.arange(len(rows), device=states.device), last])
        return torch.cat(out)


def _compare(logits: Tensor, unedited: Tensor, labels: Tensor | None) -> Outcome:
    several = labels is not None and labels.dim() == 2  # one answer for each logit
    predicted, before = (_predict(x, each=several) for x in (logits, unedited))
    logits, unedited = logits.double(), unedited.double()
    if logits.shape[1] > 1 and not several:
        logits, unedited = (x - x.mean(1, keepdim=True) for x in (logits, unedited))
    spread, whole = (float((x - x.mean(0)).norm()) for x in (logits, unedited))
    accuracy = None
    if labels is not None and predicted.shape == labels.shape:
        accuracy = float((predicted == labels).double().mean())
    agreement = float((predicted == before).double().mean())
    change = float((logits - unedited).abs().mean())
    return Outcome(accuracy, agreement, change, spread / whole if whole else float("nan"))


def _predict(logits: Tensor, *, each: bool) -> Tensor:
    """Class with the largest logit; one logit, or each of several, answers by its sign."""
    if each:
        return (logits > 0).long().cpu()
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).long().cpu()
    return logits.argmax(1).cpu()


def _most_frequent(labels: Tensor) -> float:
    """Accuracy of always giving the most frequent answer, to each question there is."""
    columns = labels.reshape(len(labels), -1).T
    shares = [float(c.unique(return_counts=True)[1].max()) / len(c) for c in columns]
    return sum(shares) / len(shares)
