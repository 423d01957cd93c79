"""The few numbers of a layer that a reader sees first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.analyzers.integration_direction import IntegrationDirectionResult
from dynprobe.analyzers.manifold_dimension import ManifoldDimensionResult
from dynprobe.report.report import Report

R = TypeVar("R")


@dataclass(frozen=True)
class Headline:
    """One of the numbers a reader sees first."""

    value: str
    label: str
    note: str = ""


def headlines(report: Report, layer: str) -> Iterator[Headline]:
    """The few numbers that answer: does it work, how many dimensions, what holds them."""
    view = report.views[layer]
    if view.accuracy is not None:
        yield Headline(f"{view.accuracy:.3f}", "accuracy", "of the recorded sequences")
    dimension = own(report, "manifold_dimension", layer, ManifoldDimensionResult)
    if dimension is not None:
        n = dimension.n_classes
        expected = "" if n is None else f"N − 1 = {n - 1} for {n} classes"
        pr = f"{dimension.participation_ratio:.2f}"
        yield Headline(pr, "participation ratio", expected or "dimensions in use")
        yield Headline(str(dimension.components_95), "components for 95 %", "of the variance")
    integration = own(report, "integration_direction", layer, IntegrationDirectionResult)
    if integration is not None and integration.readout is not None:
        angle = integration.readout.pair_angles.mean()
        simplex = f"a simplex has {integration.readout.simplex_angle:.1f}°"
        yield Headline(f"{float(angle):.1f}°", "mean readout angle", simplex)
    found = own(report, "fixed_points", layer, FixedPointsResult)
    if found is not None:
        seeds = found.n_fixed + found.n_slow + found.n_unconverged
        rest = f"distinct; {found.n_slow} of {seeds} seeds on slow points"
        yield Headline(str(len(found.unique)), "fixed points", rest)
    if integration is not None:
        span = f"τ of a whole sequence, {integration.sequence_length:g} {integration.unit}"
        yield Headline(str(integration.n_integrating), "integrating modes", span)


def own(report: Report, name: str, layer: str, kind: type[R]) -> R | None:
    """The result of a built-in analyzer; another analyzer may have been given its name."""
    result = report.get(name, layer)
    return result if isinstance(result, kind) else None
