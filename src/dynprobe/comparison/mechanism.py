"""What keeps a memory: fixed points, time constants, and whether a push comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analysis import AnalyzerChoice, Progress, Subject, analyze_subjects
from dynprobe.analyzers.fixed_points import FixedPointSearch, FixedPointsResult
from dynprobe.analyzers.integration_direction import (
    IntegrationDirection,
    IntegrationDirectionResult,
)
from dynprobe.comparison.geometry import places, states_at
from dynprobe.comparison.sides import Side
from dynprobe.dynamics.attraction import attraction
from dynprobe.dynamics.pushes import Attraction
from dynprobe.recurrences.principal import PCA
from dynprobe.recurrences.state_matrix import STATE
from dynprobe.report import Failure

#: States that are pushed, and directions of each.
PUSHED, DIRECTIONS = 32, 8


@dataclass(frozen=True)
class Mechanism:
    """What was found of one memory's map, each or the reason why not.

    Attributes
    ----------
    eigenvalues : Tensor or None
        (state_dim,), moduli under the mean input of a map that is affine in the state.
    points : FixedPointsResult or str
        Of any other map.
    slow : IntegrationDirectionResult or str
        Likewise.
    push : Attraction or str
        Pushes off the plane of visited states, and along it.
    manifold_dim : int
        Dimension of that plane.
    """

    eigenvalues: Tensor | None
    points: FixedPointsResult | str
    slow: IntegrationDirectionResult | str
    push: Attraction | str
    manifold_dim: int

    @property
    def affine(self) -> bool:
        """Whether the map is affine in the state: a push then meets one fate wherever it is."""
        return self.eigenvalues is not None

    @property
    def accumulates(self) -> bool:
        """Whether the map forgets nothing whatever its state: every eigenvalue is 1."""
        return self.eigenvalues is not None and bool((self.eigenvalues == 1).all())


def mechanism_of(
    side: Side,
    space: PCA,
    participation_ratio: float,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Mechanism:
    """Examine the map of one memory.

    Parameters
    ----------
    side : Side
        The model.
    space : PCA
        Of the states as they are, "S".
    participation_ratio : float
        Of the same; rounded, the dimension of the manifold that is pushed off.
    seed : int
        Of seeds of the search, and of pushes.
    progress : callable, optional
        ``progress(analyzer, layer, done, total)``.
    """
    k = 1 if math.isnan(participation_ratio) else max(1, round(participation_ratio))
    k = min(k, len(space.components), side.recurrence.state_dim - 1)
    eigenvalues = _eigenvalues(side)
    affine = "the map is affine: nothing to search"
    points, slow = (affine, affine) if eigenvalues is not None else _searched(side, seed, progress)
    try:
        push: Attraction | str = attraction(
            side.recurrence,
            _visited(side, seed),
            _mean_input(side),
            manifold=space.components[:k],
            steps=int(side.memory.lengths.to(torch.float64).median()),
            directions=DIRECTIONS,
            seed=seed,
        )
    except Exception as error:  # one analysis must not take the others down
        push = _reason(error)
    return Mechanism(eigenvalues, points, slow, push, k)


def _visited(side: Side, seed: int) -> Tensor:
    """(at most PUSHED, state_dim), some of the visited states, formed or not."""
    memory = side.memory
    rows, steps = places(memory.lengths, memory.layout.size, seed=seed)
    states = states_at(memory, STATE, rows, steps).flatten(0, 1)
    order = torch.randperm(len(states), generator=torch.Generator().manual_seed(seed))
    return states[order[:PUSHED]].to(side.recurrence.device)


def _mean_input(side: Side) -> Tensor | None:
    inputs = side.memory.inputs
    return None if inputs is None else inputs[side.memory.mask].to(torch.float64).mean(0)


def _eigenvalues(side: Side) -> Tensor | None:
    mean = _mean_input(side)
    if mean is None:
        mean = torch.zeros(side.recurrence.input_dim, dtype=torch.float64)
    affine = side.recurrence.affine(mean[None].to(side.recurrence.device))
    return None if affine is None else affine.eigenvalues()[0].abs().cpu()


def _searched(
    side: Side, seed: int, progress: Progress | None
) -> tuple[FixedPointsResult | str, IntegrationDirectionResult | str]:
    """The two analyzers, without the causal test: it has a report of its own."""
    chosen: list[AnalyzerChoice] = [
        "manifold_dimension",
        FixedPointSearch(),
        IntegrationDirection(n_sequences=0, n_starts=0),
    ]
    subject = Subject(side.memory, side.recurrence, side.readout)
    report = analyze_subjects([subject], chosen, seed=seed, progress=progress)

    def result(name: str) -> object:
        key = (name, side.memory.layer)
        if key in report.results:
            return report.results[key]
        why: Failure | str = report.failures.get(key) or report.skipped[key]
        return str(why)

    points, slow = result("fixed_points"), result("integration_direction")
    assert isinstance(points, (FixedPointsResult, str))
    assert isinstance(slow, (IntegrationDirectionResult, str))
    return points, slow


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
