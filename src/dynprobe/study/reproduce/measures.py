"""Every number, and every array for a figure, of one trained network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dynprobe.analyzers.fixed_points import FixedPointSearch
from dynprobe.analyzers.integration_direction import IntegrationDirection
from dynprobe.dimension import (
    MLE,
    CorrelationDimension,
    components_for,
    correlation_slope,
    participation_ratio,
)
from dynprobe.dimension.spectrum import centred_spectrum
from dynprobe.geometry.word_counts import class_word_frequencies
from dynprobe.nn import RNNClassifier
from dynprobe.report import Report
from dynprobe.study.evaluate import evaluate
from dynprobe.study.reproduce.pushes import Pushes, deflections, mean_steps
from dynprobe.study.reproduce.settings import TIED
from dynprobe.study.reproduce.states import Watched, watch
from dynprobe.study.reproduce.thinned import thinned
from dynprobe.tasks.task import Task

#: Fresh phrases that accuracy is measured on.
TEST_PHRASES = 5000
#: Phrases whose words predict the dimension.
TRAINING_PHRASES = 20_000
#: Visited states kept for figures.
DRAWN = 3000
#: Visited states whose neighbours are looked at.
NEIGHBOURS = 5000
#: The reference leaves out visited states that are within this of an earlier one.
UNIQUE = 0.025
#: The measure that was added last.
LATEST = "deflection of evidence inside"


@dataclass(frozen=True)
class Measured:
    """What one network gave.

    Attributes
    ----------
    accuracy : float
        On fresh phrases.
    numbers : dict of float
        By measure.
    arrays : dict of Tensor
        For the figures.
    """

    accuracy: float
    numbers: dict[str, float]
    arrays: dict[str, Tensor]


def expected_dims(kind: str, n: int) -> int:
    """Dimensions a task asks for: N - 1, one per label, or one for ordered classes."""
    return {"categorical": n - 1, TIED: n - 1, "multilabel": n, "ordered": 1}[kind]


def measure(network: RNNClassifier, task: Task, dims: int, *, seed: int, full: bool) -> Measured:
    """Measure a network as section 5 of the reference procedure says.

    Parameters
    ----------
    network
        Trained.
    task
        What on.
    dims
        Dimensions the task asks for.
    seed
        Of phrases and analysis.
    full
        Whether fixed points and modes are measured too.
    """
    watched = watch(network, task, seed=seed)
    accuracy = evaluate(network, [task.sample(TEST_PHRASES, seed=seed + 1_000_003)])
    numbers, arrays = _spectrum(watched, task.n_classes)
    numbers |= _nonlinear(watched, seed) | _predicted(task, seed)
    parts = [_controls(watched, _report(watched, list(_CONTROLS), seed)), _pushes(watched, dims)]
    if full:
        # the reference holds zero for its sweep over N, the mean word for single networks
        for held in ("zero", "mean"):
            chosen = [FixedPointSearch(held=held), IntegrationDirection(n_sequences=128)]
            parts.append(_dynamics(watched, _report(watched, chosen, seed), held))
        parts.append(({}, _grid(watched)))
    for found, drawn in parts:
        numbers |= found
        arrays |= drawn
    return Measured(accuracy, numbers, arrays)


def _report(watched: Watched, analyzers: list[Any], seed: int) -> Report:
    report = watched.probe.analyze(analyzers, seed=seed)
    if report.failures:
        raise next(iter(report.failures.values())).error
    return report


Found = tuple[dict[str, float], dict[str, Tensor]]
_CONTROLS = ("readout_geometry", "components_accuracy", "order_shuffle", "bag_of_words")


def _spectrum(watched: Watched, n_classes: int) -> Found:
    v = watched.variances
    final = watched.probe.recording().final.double()
    spread = torch.linalg.svdvals(final - final.mean(0)).square()
    numbers = {f"variance share {i + 1}": float(v[i] / v.sum()) for i in range(min(12, len(v)))}
    numbers |= {
        "participation ratio": participation_ratio(v),
        "components for 90 %": float(components_for(v, 0.90)),
        "components for 95 %": float(components_for(v, 0.95)),
        "components for N/(N+1)": float(components_for(v, n_classes / (n_classes + 1))),
        "participation ratio, final states": participation_ratio(spread),
    }
    rec = watched.probe.recording()
    mean = watched.visited.mean(0)
    basis = watched.components[:3].T
    drawn = torch.randperm(len(watched.visited), generator=torch.Generator().manual_seed(0))
    return numbers, {
        "visited": (watched.visited[drawn[:DRAWN]] - mean) @ basis,
        "final": (rec.final.double() - mean) @ basis,
        "paths": (rec.states[:12].double() - mean) @ basis,
        "labels": watched.phrases.labels,
        "variance shares": v / v.sum(),
    }


def _nonlinear(watched: Watched, seed: int) -> dict[str, float]:
    """Estimators that look at neighbours; they do not give N - 1."""
    generator = torch.Generator().manual_seed(seed)
    some = torch.randperm(len(watched.visited), generator=generator)[:NEIGHBOURS]
    points, unique = watched.visited[some], thinned(watched.visited, UNIQUE)
    # as the reference takes it; the harmonic mean is less biased (see `MLE`)
    arithmetic = MLE(n_neighbors=10, average="arithmetic")
    return {
        "maximum likelihood, k = 10": float(MLE(n_neighbors=10).fit(points).dimension_),
        "correlation dimension, nearest": float(CorrelationDimension().fit(points).dimension_),
        "correlation dimension, all distances": correlation_slope(points),
        # a network whose states hardly move leaves too few
        "maximum likelihood, k = 10, arithmetic mean": float(arithmetic.fit(unique).dimension_)
        if len(unique) > 10
        else math.nan,
    }


def _predicted(task: Task, seed: int) -> dict[str, float]:
    """Latent-semantic prediction, from phrases as training sees them."""
    batch = task.sample(TRAINING_PHRASES, seed=seed)
    points = class_word_frequencies(
        batch.sequences(), batch.labels, len(task.vocabulary), task.n_classes
    )
    spectrum = centred_spectrum(points)
    return {
        "latent-semantic participation ratio": spectrum.participation_ratio,
        "latent-semantic components for 95 %": float(spectrum.n_components_95),
    }


def _controls(watched: Watched, report: Report) -> Found:
    geometry = report["readout_geometry"]
    components = report["components_accuracy"]
    shuffle = report["order_shuffle"]
    bag = report["bag_of_words"]
    pairs, norms = geometry.geometry.pair_angles, geometry.geometry.norms
    numbers = {
        "readout angle, mean": geometry.angle,
        "readout angle, smallest": float(pairs.min()),
        "readout angle, largest": float(pairs.max()),
        "readout norm, spread": float(norms.max() / norms.min() - 1),
        "readout norm inside the span of the others": float(geometry.geometry.norm_in_span.mean()),
        "components the readout needs": float(components.needed),
        "same answer in random order": shuffle.unchanged,
        "change of the final state in random order": shuffle.state_change,
        "bag of words, accuracy": bag.accuracy,
        "bag of words, participation ratio": bag.spectrum.participation_ratio,
        "bag of words, cosine with the pushes": bag.agreement,
        "bag of words, largest cosine of the null": bag.null,
    }
    if components.accuracy is not None:
        scores = dict(zip(components.dims.tolist(), components.accuracy.tolist(), strict=True))
        numbers |= {f"accuracy on {d} components": a for d, a in scores.items() if d <= 8}
    by_components = components.agreement if components.accuracy is None else components.accuracy
    weight = watched.probe.readout().weight.detach().double()
    return numbers, {
        "components": components.dims,
        "accuracy by components": by_components,
        "readout": weight @ watched.components[:3].T,
    }


def _pushes(watched: Watched, dims: int) -> Found:
    rec = watched.probe.recording()
    components = watched.components[: max(dims, 3)]
    steps = mean_steps(rec, components)
    exact = deflections(watched.probe.recurrence(), rec, watched.visited, components)
    numbers = _of_words(steps, dims, "push", "pushes") | _of_words(
        exact, dims, "deflection", "deflections"
    )
    return numbers, {"deflections": exact.inside[:, :3]}


def _of_words(found: Pushes, dims: int, one: str, several: str) -> dict[str, float]:
    pushes = replace(found, inside=found.inside[:, :dims])
    neutral = [i for i, w in enumerate(pushes.words) if w in ("neutral", "okay")]
    evidence = [i for i in range(len(pushes.words)) if i not in neutral]
    sizes = pushes.inside.norm(dim=1)
    numbers = {
        f"{one} of evidence inside": float(sizes[evidence].mean()),
        f"{one} of evidence in the full space": float(pushes.length[evidence].mean()),
    }
    if neutral:
        numbers |= {
            f"{one} of the neutral word inside": float(sizes[neutral].mean()),
            f"{one} of the neutral word in the full space": float(pushes.length[neutral].mean()),
        }
    if len(evidence) > 1 and dims > 1:
        some = torch.tensor(evidence)
        angles = pushes.angles[some][:, some]
        i, j = torch.triu_indices(len(some), len(some), offset=1)
        numbers |= {
            f"angle between {several}, smallest": float(angles[i, j].min()),
            f"angle between {several}, largest": float(angles[i, j].max()),
        }
    return numbers


def _dynamics(watched: Watched, report: Report, held: str) -> Found:
    """Fixed points, modes and what they do, under one held input that every name tells."""
    fixed, modes = report["fixed_points"], report["integration_direction"]
    mean = watched.visited.mean(0)
    seeds = fixed.n_fixed + fixed.n_slow + fixed.n_unconverged
    numbers = {
        "distinct fixed points": float(len(fixed.unique)),
        "fixed points, attractors": float(fixed.attractors.sum()),
        "share of seeds at fixed points": fixed.n_fixed / seeds,
        "share of seeds at slow points": fixed.n_slow / seeds,
        "participation ratio of fixed and slow points": fixed.slow_participation_ratio,
        "points linearised at": float(modes.n_points),
        "modes slower than the sequence": float(modes.n_integrating),
        "slow modes in the PC plane": modes.slow_in_plane,
        "slow modes in the PC plane, random": modes.null_in_plane,
    }
    for i, row in enumerate(modes.time_constants[:8].tolist()):
        for name, tau in zip(("10 %", "median", "90 %"), row, strict=True):
            numbers[f"time constant {i + 1}, {name}"] = tau
    if modes.linear_error is not None:
        for k, e in zip(modes.linear_error.steps, modes.linear_error.of_movement, strict=True):
            numbers[f"error of the linear model, {k} steps"] = float(e)
    if modes.ablation is not None:
        keep, remove = modes.ablation.keep, modes.ablation.remove
        numbers |= {
            "accuracy with the slow modes alone": keep.score,
            "accuracy without the slow modes": remove.score,
        }
    cuts = fixed.slow_set
    basis = watched.components[:3].T
    arrays = {
        "fixed points": (fixed.unique.states.double() - mean) @ basis,
        "slow points": (fixed.points.states[fixed.points.slow].double() - mean) @ basis,
        "cuts": cuts.cuts,
        "points by cut": cuts.counts,
        "dimension by cut": cuts.participation_ratio,
        "time constants": modes.time_constants,
        "eigenvalues": torch.view_as_real(modes.eigenvalues[0].to(torch.complex128)),
    }
    return (
        {f"{held} input: {name}": value for name, value in numbers.items()},
        {f"{held}: {name}": value for name, value in arrays.items()},
    )


def _grid(watched: Watched, cells: int = 41) -> dict[str, Tensor]:
    """Speed and answer on a grid of the first two principal components, the others at the mean."""
    mean, basis = watched.visited.mean(0), watched.components[:2]
    reach = 1.25 * ((watched.visited - mean) @ basis.T).abs().amax(0)
    axis = torch.linspace(-1, 1, cells, dtype=torch.float64)
    at = torch.cartesian_prod(axis, axis) * reach
    states = mean + at @ basis
    recurrence, readout = watched.probe.recurrence(), watched.probe.readout()
    still = states.new_zeros(len(states), recurrence.input_dim)
    with torch.no_grad():
        moved = recurrence.step(states, still) - states
    return {
        "grid": at,
        "grid speed": 0.5 * moved.square().sum(1),
        "grid answer": readout(states).argmax(1),
    }
