"""The numbers of a report as rows of text: one source for the terminal and the page.

A result of a plugin is shown by its own ``summary()`` if it has one, a list of (measure, value),
else by its numbers and short texts.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dynprobe.analyzers.cloud_dimension import CloudDimension
from dynprobe.analyzers.dimension_scale import DimensionScaleResult
from dynprobe.analyzers.fixed_point_dimension import FixedPointDimensionResult
from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.analyzers.integration_direction import IntegrationDirectionResult
from dynprobe.analyzers.manifold_dimension import ManifoldDimensionResult
from dynprobe.analyzers.mode_ablation import ModeAblation, Outcome
from dynprobe.analyzers.state_spectrum import RECORDED, Spectrum, StateSpectrumResult
from dynprobe.analyzers.token_deflections import Deflections
from dynprobe.dynamics.completeness import Completeness
from dynprobe.dynamics.prediction import PredictionError
from dynprobe.geometry.alignment import Alignment
from dynprobe.geometry.simplex import ReadoutGeometry
from dynprobe.report.report import Report

#: A time constant beyond this is an eigenvalue of 1, up to rounding.
NEVER = 1e6


@dataclass(frozen=True)
class Row:
    """One line: what was measured, the value, and what the value means."""

    measure: str
    value: str
    meaning: str = ""


#: The head of the rows of clouds.
CLOUDS = Row(
    "participation ratio of",
    "95 % interval",
    "components for 90 % / 95 % / N/(N+1) of the variance; above shuffled units",
)


def summary(report: Report, layer: str) -> dict[str, list[Row]]:
    """Rows of one layer by analyzer, skipped and failed ones included."""
    out: dict[str, list[Row]] = {}
    view = report.views[layer]
    first = [Row("states", f"{view.states_seen:,}", "recorded valid steps")]
    if view.accuracy is not None:
        first.append(Row("accuracy", f"{view.accuracy:.3f}", "of the recorded sequences"))
    out["recording"] = first
    for (name, at), result in report.results.items():
        if at == layer:
            out[name] = rows_of(result)
    _beside_each_other(out, report, layer)
    for (name, at), why in report.skipped.items():
        if at == layer:
            out[name] = [Row("skipped", why)]
    for (name, at), failure in report.failures.items():
        if at == layer:
            out[name] = [Row("failed", str(failure))]
    return out


def _beside_each_other(out: dict[str, list[Row]], report: Report, layer: str) -> None:
    """Clouds of points at rest stand in the same table as clouds of states."""
    states, resting = "manifold_dimension", "fixed_point_dimension"
    of_states, of_resting = (report.get(name, layer) for name in (states, resting))
    if isinstance(of_states, ManifoldDimensionResult) and isinstance(
        of_resting, FixedPointDimensionResult
    ):
        out[states] += out.pop(resting)[1:]  # one head for all clouds


def rows_of(result: Any) -> list[Row]:
    """Rows of one result."""
    if isinstance(result, ManifoldDimensionResult):
        return _dimension(result)
    if isinstance(result, FixedPointsResult):
        return _fixed_points(result)
    if isinstance(result, FixedPointDimensionResult):
        return _resting(result)
    if isinstance(result, DimensionScaleResult):
        return _scales(result)
    if isinstance(result, IntegrationDirectionResult):
        return _integration(result)
    if isinstance(result, StateSpectrumResult):
        return _spectra(result)
    if hasattr(result, "summary"):
        return _own_rows(result)
    if dataclasses.is_dataclass(result):
        pairs = [(f.name, getattr(result, f.name)) for f in dataclasses.fields(result)]
        return [Row(name.replace("_", " "), short(value)) for name, value in pairs]
    return [Row("result", short(result))]


def _own_rows(result: Any) -> list[Row]:
    """Rows that a plugin's result makes itself; where it fails, the reason and nothing else."""
    try:
        return [Row(str(measure), str(value)) for measure, value in result.summary()]
    except Exception as error:
        return [Row("summary() failed", f"{type(error).__name__}: {error}")]


def short(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Tensor):
        if value.numel() <= 4:
            return ", ".join(short(v) for v in value.flatten().tolist())
        return f"tensor {tuple(value.shape)}"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _dimension(r: ManifoldDimensionResult) -> list[Row]:
    shares = ", ".join(f"{x:.3f}" for x in r.visited.variance_ratio[:4].tolist())
    rows = [Row("variance shares", shares, "first principal components of visited states")]
    if r.n_classes is not None:
        expected = f"dimensions of a {r.n_classes}-class integrator"
        rows.append(Row("N - 1", str(r.n_classes - 1), expected))
    rows += [CLOUDS, _cloud("visited states", r.visited)]
    if r.final is not None:
        rows.append(_cloud("final states", r.final))
    return rows


def _resting(r: FixedPointDimensionResult) -> list[Row]:
    both = (("fixed points", r.fixed, r.no_fixed), ("fixed and slow points", r.slow, r.no_slow))
    clouds = [Row(name, "-", why) if c is None else _cloud(name, c) for name, c, why in both]
    return [CLOUDS, *clouds]


def _cloud(name: str, c: CloudDimension) -> Row:
    """One line below that head."""
    if math.isnan(c.participation_ratio):
        return Row(name, "no variance", f"all {c.count:,} are the same")
    value = f"{c.participation_ratio:.2f}"
    if c.participation_ratio_interval is not None:
        low, high = c.participation_ratio_interval
        value += f" ({low:.2f} to {high:.2f})"
    counts = (c.components_90, c.components_95, c.components_simplex)
    needed = " / ".join("-" if n is None else str(n) for n in counts)
    above = "-" if c.components_above_null is None else str(c.components_above_null)
    return Row(name, value, f"{needed}; {above}")


def _scales(r: DimensionScaleResult) -> list[Row]:
    """Each curve at a few sizes; where it is flat, the data have that dimension."""
    rows = []
    for name, curve in r.scales.curves.items():
        few = range(0, len(curve.neighbors), 2)
        values = ", ".join(f"{float(curve.dimension[i]):.2f}" for i in few)
        sizes = ", ".join(str(int(curve.neighbors[i])) for i in few)
        rows.append(Row(name, values, f"with {sizes} neighbours"))
    left = r.scales.n_points - r.scales.n_duplicates
    rows.append(Row("sample", f"{left:,} states", "; ".join(("distinct", *r.scales.notes))))
    return rows


def _fixed_points(r: FixedPointsResult) -> list[Row]:
    return [
        Row(
            "seeds: fixed / slow / neither",
            f"{r.n_fixed} / {r.n_slow} / {r.n_unconverged}",
            f"where the seeds come to rest, {r.held}",
        ),
        Row(
            "distinct fixed points",
            str(len(r.unique)),
            _kinds(r),
        ),
        Row("are any missing?", _verdict(r.completeness), r.completeness.reason),
        Row(
            "dimension of the slow set",
            "-" if math.isnan(r.slow_participation_ratio) else f"{r.slow_participation_ratio:.2f}",
            "participation ratio of fixed and slow points",
        ),
    ]


def _verdict(found: Completeness) -> str:
    if found.index_sum is None:
        return str(found.verdict)
    return f"{found.verdict}: index sum {found.index_sum}"


def _kinds(r: FixedPointsResult) -> str:
    """How many of the distinct fixed points are attractors, saddles, or on a continuum."""
    if len(r.unique) == 0:
        return "none certified"
    parts = [
        (int(r.attractors.sum()), "attractor", "attractors"),
        (int(r.saddles.sum()), "saddle or repeller", "saddles or repellers"),
        (int(r.on_continuum.sum()), "on a continuum", "on a continuum"),
    ]
    return ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in parts if n)


def _integration(r: IntegrationDirectionResult) -> list[Row]:
    taus = ", ".join(number(t) for t in r.time_constants[:4, 1].tolist())
    rows = [
        Row(
            "longest time constants",
            taus,
            f"{r.unit}, growing or fading, median over {_counted(r.n_points, 'point')}",
        ),
        Row(
            "integrating modes",
            str(r.n_integrating),
            f"tau at least the sequence length, {r.sequence_length:g} {r.unit}",
        ),
        Row(
            "slow modes in the PC plane",
            f"{r.slow_in_plane:.2f}",
            f"largest |λ|, {r.plane_dim} for {_counted(r.plane_dim, 'dimension')}; "
            + _null(r.slow_alignment),
        ),
    ]
    if r.readout_in_slow is not None and r.readout_alignment is not None:
        share = f"{r.readout_in_slow:.2f}"
        rows.append(Row("readout in the slow modes", share, _null(r.readout_alignment)))
    departure = f"{float(r.departure.median()):.2f}"
    normal = "Henrici's departure over the norm, median; 0 is normal"
    if r.n_ill_conditioned:
        normal += f"; left modes unreliable at {_counted(r.n_ill_conditioned, 'point')}"
    rows.append(Row("non-normality", departure, normal))
    if r.linear_error is not None and r.linear_error.steps:
        rows.append(_linear_error(r.linear_error))
    if r.ablation is not None:
        rows += _ablation(r.ablation)
    if r.readout is not None and r.readout_in_plane is not None:
        simplex = f"degrees; a simplex has {r.readout.simplex_angle:.1f}"
        rows.append(Row("readout angles", _angles(r.readout), simplex))
        seen = "degrees between their projections"
        rows.append(Row("readout angles in the plane", _angles(r.readout_in_plane), seen))
    if r.deflections is not None:
        rows += _deflections(r.deflections)
    return rows


def _spectra(r: StateSpectrumResult) -> list[Row]:
    """The recorded states in the middle, what random inputs give beside them."""

    def varies(s: Spectrum) -> bool:
        return not math.isnan(s.participation_ratio)

    def shares(s: Spectrum) -> str:
        return ", ".join(f"{x:.3f}" for x in s.shares.tolist()) if varies(s) else "no variance"

    def ratio(s: Spectrum) -> str:
        return f"{s.participation_ratio:.2f}" if varies(s) else "no variance"

    rows = []
    for of, by_inputs in r.spectra.items():
        nulls = {how: s for how, s in by_inputs.items() if how != RECORDED}
        for measure, show in (("variance shares", shares), ("participation ratio", ratio)):
            beside = "; ".join(f"{how} inputs {show(s)}" for how, s in nulls.items())
            rows.append(Row(f"{measure} of {of}", show(by_inputs[RECORDED]), beside))
    for how, note in r.notes.items():
        drawn = any(how in by_inputs for by_inputs in r.spectra.values())
        rows.append(Row(f"{how} inputs", "in part" if drawn else "none", note))
    return rows


def _null(found: Alignment) -> str:
    """The null beside a share."""
    z = "" if math.isnan(found.z) else f", z = {found.z:.1f}"
    return f"random {found.null_mean:.2f} ± {found.null_std:.2f}{z}"


def _linear_error(found: PredictionError) -> Row:
    shares = found.of_movement.tolist()
    errors = ", ".join("-" if math.isnan(e) else f"{e:.2f}" for e in shares)
    steps = ", ".join(map(str, found.steps))
    meaning = f"of the movement, after {steps} steps"
    if any(map(math.isnan, shares)):
        meaning += "; - where nothing moves"
    return Row("error of the linear model", errors, meaning)


def _ablation(a: ModeAblation) -> list[Row]:
    modes = _counted(a.rank, "slow mode")
    names: tuple[str, ...] = (f"only its {modes}", f"without its {modes}")
    if a.of_all:
        names = tuple(
            f"{word} all its {_counted(a.n_modes, 'mode')}" for word in ("with", "without")
        )
    if a.unedited.accuracy is None:
        what = "agreement with the unedited run"
        chance = f"always its commonest answer {a.chance:.2f}"
    else:
        what, chance = "accuracy", f"chance {a.chance:.2f}"
    before = f"{what} (unedited {a.unedited.score:.3f}; {chance}); "
    after = f"; no accuracy: {a.labels_problem}" if a.labels_problem else ""
    pairs = ((a.keep, a.random_keep), (a.remove, a.random_remove))
    return [
        Row(name, _outcome(found), before + _controls(controls) + after)
        for name, (found, controls) in zip(names, pairs, strict=True)
    ]


def _outcome(o: Outcome) -> str:
    spread = "-" if math.isnan(o.logit_spread) else f"{o.logit_spread:.2f}"
    return f"{o.score:.3f}; logits change {o.logit_change:.2f}, spread {spread}"


def _controls(found: tuple[Outcome, ...]) -> str:
    if not found:
        return "no random directions run"
    scores = [o.score for o in found]
    return (
        f"random directions {sum(scores) / len(scores):.3f}, {min(scores):.3f} to {max(scores):.3f}"
    )


def _angles(geometry: ReadoutGeometry) -> str:
    pairs = geometry.pair_angles.tolist()
    if len(pairs) <= 6:
        return ", ".join(f"{a:.1f}" for a in pairs)
    return f"{min(pairs):.1f} to {max(pairs):.1f}"


def _deflections(d: Deflections) -> list[Row]:
    length = d.visited.norm(dim=1)
    if len(length) > 12:
        order = length.argsort(descending=True)[:6].tolist()
        shown = ", ".join(f"{d.tokens[i]} {float(length[i]):.2f}" for i in order)
        return [Row("largest deflections", shown, "in the PC plane, mean per occurrence")]
    in_plane = ", ".join(f"{t} {v:.3f}" for t, v in zip(d.tokens, length.tolist(), strict=True))
    full = ", ".join(
        f"{t} {v:.3f}" for t, v in zip(d.tokens, d.visited_length.tolist(), strict=True)
    )
    taken = ", ".join(
        f"{t} {v:.3f}" for t, v in zip(d.tokens, d.selected_length.tolist(), strict=True)
    )
    return [
        Row("deflection in the PC plane", in_plane, "mean of s_t - s_(t-1) on PC 1-2"),
        Row("deflection in the full space", full, "all tokens share a transient here"),
        Row("deflection by the slow modes", taken, "what left modes take of J_inp (x - x*)"),
    ]


def number(x: float) -> str:
    """A time constant in a few characters; an eigenvalue of 1 up to rounding never fades."""
    if x > NEVER:
        return "inf"
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
