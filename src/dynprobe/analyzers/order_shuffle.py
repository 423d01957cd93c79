"""Whether the order of the inputs matters: the same ones in random order, run once more."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dynprobe.analyzers.answers import Labels
from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.replay import Replay
from dynprobe.analyzers.results import Result
from dynprobe.errors import NothingRecordedError


@dataclass(frozen=True)
class OrderShuffleResult(Result):
    """Final states of recorded sequences, and of the same inputs in random order.

    Attributes
    ----------
    n_sequences : int
        Sequences that were run, of two inputs and more.
    unchanged : float
        Share of them with the same answer in both orders.
    state_change : float
        Mean of |h' - h| / |h| over the final states h, h' (Aitken et al. 2020 use it as a sign of
        an integrator: 0 if only counts matter).
    accuracy, accuracy_shuffled : float or None
        Of the known labels in the recorded order, and in random order.
    """

    n_sequences: int
    unchanged: float
    state_change: float
    accuracy: float | None
    accuracy_shuffled: float | None

    def summary(self) -> list[tuple[str, str]]:
        """Rows of a report."""
        rows = [
            ("same answer in random order", f"{self.unchanged:.3f} of {self.n_sequences}"),
            ("final state in random order", f"changes by {self.state_change:.3f} of its length"),
        ]
        if self.accuracy is not None and self.accuracy_shuffled is not None:
            both = f"{self.accuracy:.3f}, in random order {self.accuracy_shuffled:.3f}"
            rows.append(("accuracy", both))
        return rows


class OrderShuffle(Analyzer):
    """Permute the inputs of each sequence, from the same initial state.

    The inputs of this layer are permuted as they were recorded. Those of a deeper layer depend on
    the tokens before, and are no longer what the model would give in that order.

    Parameters
    ----------
    n_sequences : int
        At most so many, drawn at random.
    """

    name = "order_shuffle"
    requires = frozenset({"states", "inputs", "recurrence", "readout"})

    def __init__(self, n_sequences: int = 512) -> None:
        if n_sequences < 1:
            raise ValueError(f"n_sequences is {n_sequences}; run at least one.")
        self.n_sequences = n_sequences

    def analyze(self, ctx: Context) -> OrderShuffleResult:
        runs = Replay.of(ctx.recording, self.n_sequences, ctx.seed)
        if runs is None or not bool((runs.lengths > 1).any()):
            raise NothingRecordedError("No sequence has two inputs after a known state.")
        long = runs.lengths > 1  # others have one order
        there = runs.final(ctx.recurrence).double()[long]
        other = runs.final(ctx.recurrence, inputs=runs.shuffled(ctx.seed)).double()[long]
        known = None if runs.labels is None else runs.labels[long.cpu()]
        labels = Labels.of(known, ctx.readout.n_classes)
        before, after = (labels.answers(ctx.readout(s)) for s in (there, other))
        same = (before == after).reshape(len(before), -1).all(1)
        size = there.norm(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        return OrderShuffleResult(
            n_sequences=len(there),
            unchanged=float(same.double().mean()),
            state_change=float(((other - there).norm(dim=1) / size).mean()),
            accuracy=labels.accuracy(before),
            accuracy_shuffled=labels.accuracy(after),
        )
