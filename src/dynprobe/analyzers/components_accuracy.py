"""How many principal components of the states the classifier needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.answers import Labels
from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.results import Result

#: Components are enough when the score is within this of that of the whole state.
ENOUGH = 0.01


@dataclass(frozen=True)
class ComponentsAccuracyResult(Result):
    """Accuracy from the first d principal components of the final states.

    Attributes
    ----------
    dims : Tensor
        (points,), numbers of components: all small ones, then every doubling, and the whole state.
    accuracy : Tensor or None
        (points,), share of the known labels that the readout gets right from the final states
        projected on so many components of the visited states, about their mean; None without
        labels that fit.
    agreement : Tensor
        (points,), share of the answers that are those of the whole state.
    needed : int
        Fewest components, among `dims`, whose accuracy (agreement, without labels) is within 0.01
        of that of the whole state.
    labels_problem : str
        Why there is no accuracy although there are labels; else empty.
    """

    dims: Tensor
    accuracy: Tensor | None
    agreement: Tensor
    needed: int
    labels_problem: str

    def summary(self) -> list[tuple[str, str]]:
        """Rows of a report."""
        score, what = (
            (self.agreement, "agreement with the whole state")
            if self.accuracy is None
            else (self.accuracy, "accuracy")
        )
        shown = ", ".join(
            f"{d}: {v:.3f}" for d, v in zip(self.dims.tolist(), score.tolist(), strict=True)
        )
        return [
            ("components the readout needs", f"{self.needed} (within 0.01 of the whole state)"),
            (f"{what} by components", shown),
        ]


class ComponentsAccuracy(Analyzer):
    """Project final states on d components before the readout.

    Parameters
    ----------
    n_small : int
        Numbers of components up to which each is tried.
    """

    name = "components_accuracy"
    requires = frozenset({"states", "readout"})

    def __init__(self, n_small: int = 8) -> None:
        if n_small < 1:
            raise ValueError(f"n_small is {n_small}; try at least one component.")
        self.n_small = n_small

    def analyze(self, ctx: Context) -> ComponentsAccuracyResult:
        rec = ctx.recording
        ended = (rec.lengths > 0).cpu()
        final = rec.final.to("cpu", torch.float64)[ended]
        visited = ctx.result("manifold_dimension").visited
        centred, n = final - visited.mean, visited.components.shape[0]
        given = None if rec.labels is None else rec.labels.cpu()[ended]
        labels = Labels.of(given, ctx.readout.n_classes)
        whole = labels.answers(ctx.readout(final))
        dims = [d for d in range(self.n_small + 1) if d < n]
        while dims and 2 * dims[-1] < n and dims[-1] > 0:
            dims.append(2 * dims[-1])
        dims.append(n)
        accuracy, agreement = [], []
        for d in dims:
            basis = visited.components[:d]
            answers = labels.answers(ctx.readout(visited.mean + (centred @ basis.T) @ basis))
            agreement.append(float((answers == whole).double().mean()))
            accuracy.append(labels.accuracy(answers))
        scores = [a for a in accuracy if a is not None] or agreement
        needed = next(d for d, s in zip(dims, scores, strict=True) if s >= scores[-1] - ENOUGH)
        return ComponentsAccuracyResult(
            dims=torch.tensor(dims),
            accuracy=None if labels.values is None else torch.tensor(scores, dtype=torch.float64),
            agreement=torch.tensor(agreement, dtype=torch.float64),
            needed=needed,
            labels_problem=labels.problem,
        )
