"""Whether the readouts of the classes point to the corners of a simplex."""

from __future__ import annotations

from dataclasses import dataclass

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.results import Result
from dynprobe.geometry.simplex import ReadoutGeometry, readout_geometry
from dynprobe.geometry.subspaces import random_angle


@dataclass(frozen=True)
class ReadoutGeometryResult(Result):
    """Readout vectors beside a simplex, and beside random directions.

    Attributes
    ----------
    geometry : ReadoutGeometry
        Norms, angles and shares inside the span of the others, as the weights are.
    angle : float
        Mean angle of the pairs, degrees.
    common : float
        Squared norm of the mean vector over the mean squared norm: 0 in a simplex. What all
        classes have in common cannot be seen by a softmax.
    expected : float
        Degrees: the angle of a simplex, or 90 where the recorded labels are several at once, which
        ask for a direction each.
    random_low, random_high : float
        Degrees: nine in ten pairs of random directions lie between. A mean angle of a simplex says
        little: readouts that sum to zero have it whatever their shape. Look at the smallest and
        largest.
    """

    geometry: ReadoutGeometry
    angle: float
    common: float
    expected: float
    random_low: float
    random_high: float

    def summary(self) -> list[tuple[str, str]]:
        """Rows of a report."""
        g = self.geometry
        pairs, inside = g.pair_angles, g.norm_in_span
        return [
            (
                "readout angles",
                f"{float(pairs.min()):.1f}° to {float(pairs.max()):.1f}°, mean {self.angle:.1f}°; "
                f"expected {self.expected:.1f}°; nine in ten random pairs "
                f"{self.random_low:.1f}° to {self.random_high:.1f}°",
            ),
            ("readout norms", f"{float(g.norms.min()):.3g} to {float(g.norms.max()):.3g}"),
            ("share of a norm in the span of the others", f"{float(inside.mean()):.4f}"),
        ]


class ReadoutSimplex(Analyzer):
    """Norms and angles of the readout; Aitken et al. 2020 (arXiv 2010.15114), section 3.1."""

    name = "readout_geometry"
    requires = frozenset({"readout"})

    def analyze(self, ctx: Context) -> ReadoutGeometryResult:
        weight = ctx.readout.weight.detach().to("cpu").double()
        if len(weight) < 2:
            raise ValueError("The readout has one logit; angles need at least two.")
        geometry = readout_geometry(weight)
        labels = ctx.recording.labels
        several = labels is not None and labels.dim() == 2 and labels.shape[1] > 1
        mean = weight.mean(0).square().sum() / weight.square().sum(1).mean()
        return ReadoutGeometryResult(
            geometry=geometry,
            angle=float(geometry.pair_angles.mean()),
            common=float(mean),
            expected=90.0 if several else geometry.simplex_angle,
            random_low=random_angle(weight.shape[1], 0.05, seed=ctx.seed),
            random_high=random_angle(weight.shape[1], 0.95, seed=ctx.seed),
        )
