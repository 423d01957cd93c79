"""Along which directions the recurrence integrates, whether it needs them, and who pushes there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.analyzers.manifold_dimension import ManifoldDimensionResult
from dynprobe.analyzers.mode_ablation import ModeAblation, ablate_modes
from dynprobe.analyzers.results import Result
from dynprobe.analyzers.slow_modes import projector_or_none, slow_modes
from dynprobe.analyzers.token_deflections import Deflections, deflections
from dynprobe.dynamics.certificate import Status
from dynprobe.dynamics.fixed_points import FixedPoints, join
from dynprobe.dynamics.linearization import Linearization, linearize
from dynprobe.dynamics.modes import longest_lasting, real_rows
from dynprobe.dynamics.prediction import PredictionError, prediction_error
from dynprobe.geometry.alignment import Alignment, alignment
from dynprobe.geometry.simplex import ReadoutGeometry, readout_geometry
from dynprobe.geometry.subspaces import orthonormal, random_share, share_inside


@dataclass(frozen=True)
class IntegrationDirectionResult(Result):
    """Slow modes at the fixed and slow points, what they line up with, and token deflections.

    Slow modes are those that are forgotten last, of largest |lambda|: see
    :class:`dynprobe.analyzers.slow_modes.SlowModes`.

    Attributes
    ----------
    n_points : int
        Points that were linearised.
    eigenvalues : Tensor
        (points, state_dim), complex, by falling magnitude.
    time_constants : Tensor
        (modes, 3): percentiles 10, 50, 90 over the points of the longest tau, in `unit`; of growing
        modes too.
    sequence_length : float
        Median length of the recorded sequences, in `unit`.
    n_integrating : int
        Median number of modes with tau at or above the sequence length.
    plane_dim : int
        Dimension of "the PC plane": the participation ratio of the visited states, rounded.
    slow_in_plane, null_in_plane : float
        Mean share of the `plane_dim` slow right modes inside the PC plane; the 95th percentile
        of the same for a random direction.
    slow_alignment : Alignment
        The same share beside that of the same modes in random planes, with z-score and percentile.
    readout_in_slow, null_in_slow : float or None
        Mean share of the readout inside the span of these modes, and its random null.
    readout_alignment : Alignment or None
        The same share beside that of the readout in random subspaces.
    readout : ReadoutGeometry or None
        Norms and angles of the readout vectors.
    readout_in_plane : ReadoutGeometry or None
        The same for their projections on the PC plane: what of them the states can reach. A
        readout keeps the random part of its initialisation where no penalty removes it, and that
        part turns the full vectors towards right angles.
    deflections : Deflections or None
        Where the tokens are known.
    unit : str
        Unit of times.
    departure : Tensor
        (points,), Henrici's departure from normality over the norm of the Jacobian.
    n_ill_conditioned : int
        Points where a slow mode is defective or nearly so: its left mode is not to be trusted.
    linear_error : PredictionError or None
        How far ahead the linear model of the nearest point foresees the states; where the inputs
        are known.
    ablation : ModeAblation or None
        The sequences run again with only the slow modes of one point, and without them, read out
        at the end; None without a readout or inputs.
    """

    n_points: int
    eigenvalues: Tensor
    time_constants: Tensor
    sequence_length: float
    n_integrating: int
    plane_dim: int
    slow_in_plane: float
    null_in_plane: float
    slow_alignment: Alignment
    readout_in_slow: float | None
    null_in_slow: float | None
    readout_alignment: Alignment | None
    readout: ReadoutGeometry | None
    readout_in_plane: ReadoutGeometry | None
    deflections: Deflections | None
    unit: str
    departure: Tensor
    n_ill_conditioned: int
    linear_error: PredictionError | None
    ablation: ModeAblation | None


class IntegrationDirection(Analyzer):
    """Linearise at fixed and slow points and compare the slow modes with plane and readout.

    Parameters
    ----------
    n_points : int
        How many points at most are linearised, at least 1.
    n_tokens : int
        How many of the most frequent tokens are followed.
    rank : int, optional
        How many slow modes the causal test keeps or removes, at least 1; by default the
        participation ratio of the visited states, rounded. A conjugate pair is never cut.
    n_sequences : int
        How many recorded sequences at most the causal test runs; 0 leaves it out.
    projection : {"orthogonal", "oblique"}
        How the state is projected on them, see :mod:`dynprobe.dynamics.ablation`.
    n_random : int
        How many random subspaces stand beside it.
    n_starts : int
        How many visited states the linear model starts from.
    """

    name = "integration_direction"
    requires = frozenset({"states", "recurrence"})

    def __init__(
        self,
        n_points: int = 64,
        n_tokens: int = 400,
        *,
        rank: int | None = None,
        projection: str = "orthogonal",
        n_sequences: int = 256,
        n_random: int = 5,
        n_starts: int = 256,
    ) -> None:
        _at_least_one("n_points", n_points, "points to linearise at")
        if rank is not None:
            _at_least_one("rank", rank, "modes of the causal test")
        if projection not in ("orthogonal", "oblique"):
            raise ValueError(f"projection is {projection!r}; it is 'orthogonal' or 'oblique'.")
        self.n_points = n_points
        self.n_tokens = n_tokens
        self.rank = rank
        self.projection = projection
        self.n_sequences = n_sequences
        self.n_random = n_random
        self.n_starts = n_starts

    def analyze(self, ctx: Context) -> IntegrationDirectionResult:
        found: FixedPointsResult = ctx.result("fixed_points")
        dimension: ManifoldDimensionResult = ctx.result("manifold_dimension")
        points = _choose(found.points, self.n_points, ctx.seed)
        if len(points) == 0:
            raise ValueError(
                "No fixed or slow point was found to linearise at: every seed stayed unconverged. "
                "The states may be far from any attractor; try find_fixed_points with more seeds, "
                "noise, or a larger slow_tol."
            )
        lin = linearize(ctx.recurrence, points)
        meta = ctx.recording.meta
        length = float(ctx.recording.lengths.to(torch.float64).median())
        ratio = dimension.participation_ratio
        k = 1 if math.isnan(ratio) else max(1, round(ratio))
        plane = dimension.visited.components[:k]
        n = meta.layout.size
        slow = slow_modes(lin, k)
        in_plane = [share_inside(s, plane).mean() for s in slow.spans]
        slow_in_plane = float(torch.stack(in_plane).mean())
        readout = ctx.readout if ctx.has("readout") else None
        weight, in_slow = None, None
        if readout is not None:
            weight = readout.centred() if readout.n_classes > 1 else readout.weight.double().cpu()
            shares = [share_inside(weight, s).mean() for s in slow.spans]
            in_slow = float(torch.stack(shares).mean())
        vectors = None
        if readout is not None and readout.n_classes > 1:
            vectors = readout.weight.to("cpu", torch.float64)
        return IntegrationDirectionResult(
            n_points=len(points),
            eigenvalues=lin.eigenvalues,
            time_constants=meta.dt * lin.percentiles(),
            sequence_length=meta.dt * length,
            n_integrating=int((lin.time_constants >= length).sum(1).median()),
            plane_dim=k,
            slow_in_plane=slow_in_plane,
            null_in_plane=random_share(n, k, 0.95, seed=ctx.seed),
            slow_alignment=alignment(
                torch.cat(slow.spans), plane, share=slow_in_plane, seed=ctx.seed
            ),
            readout_in_slow=in_slow,
            null_in_slow=(None if weight is None else random_share(n, k, 0.95, seed=ctx.seed + 1)),
            readout_alignment=(
                None
                if weight is None
                else alignment(weight, slow.spans[0], share=in_slow, seed=ctx.seed + 1)
            ),
            readout=None if vectors is None else readout_geometry(vectors),
            readout_in_plane=None if vectors is None else readout_geometry(vectors @ plane.T),
            deflections=deflections(
                ctx.recurrence,
                ctx.recording,
                lin,
                slow,
                dimension.visited.components[:2],
                self.n_tokens,
            ),
            unit=meta.unit,
            departure=lin.departure,
            n_ill_conditioned=int(lin.ill_conditioned[:, :k].any(1).sum()),
            linear_error=self._linear_error(ctx, lin),
            ablation=self._ablation(ctx, lin, k if self.rank is None else self.rank),
        )

    def _linear_error(self, ctx: Context, lin: Linearization) -> PredictionError | None:
        rec = ctx.recording
        # starts are recorded states, so that the step before the first one is not needed
        rows, steps = (rec.mask[:, 1:]).nonzero(as_tuple=True)
        if rec.inputs is None or len(rows) == 0 or self.n_starts < 1:
            return None
        generator = torch.Generator().manual_seed(ctx.seed)
        chosen = torch.randperm(len(rows), generator=generator)[: self.n_starts].to(rows.device)
        rows, steps = rows[chosen], steps[chosen]
        left = rec.lengths.to(rows.device)[rows] - 1 - steps
        ahead = torch.arange(int(left.max()) + 1, device=rows.device)
        at = (steps[:, None] + ahead).clamp(max=rec.shape[1] - 1)
        states, inputs = rec.states[rows[:, None], at], rec.inputs[rows[:, None], at[:, 1:]]
        return prediction_error(ctx.recurrence, lin, states, inputs, left)

    def _ablation(self, ctx: Context, lin: Linearization, rank: int) -> ModeAblation | None:
        if not ctx.has("readout") or self.n_sequences < 1:
            return None
        mean = ctx.recording.flat().to("cpu", torch.float64).mean(0)
        rank = min(rank, lin.states.shape[1])
        for point in (lin.states - mean).norm(dim=1).argsort().tolist():
            modes = longest_lasting(lin.eigenvalues[point], rank)
            right, left = lin.right[point].T[modes], lin.left[point][modes]
            basis = orthonormal(real_rows(right))
            oblique = self.projection == "oblique"
            projector = projector_or_none(right, left) if oblique else basis.T @ basis
            if projector is not None:
                return ablate_modes(
                    ctx.recurrence,
                    ctx.recording,
                    ctx.readout,
                    projector,
                    lin.states[point],
                    rank=len(basis),
                    point=point,
                    n_sequences=self.n_sequences,
                    n_random=self.n_random,
                    seed=ctx.seed,
                )
        return None


def _at_least_one(name: str, value: object, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f"{name} is {value!r}; it is the number of {what}, a whole number of at least 1."
        )


def _choose(points: FixedPoints, n: int, seed: int) -> FixedPoints:
    """At most n fixed or slow points: all unique fixed ones first, then slow ones at random."""
    fixed = points.unique()[:n]
    slow = points[points.status == Status.SLOW]
    order = torch.randperm(len(slow), generator=torch.Generator().manual_seed(seed))
    slow = slow[order[: n - len(fixed)]]
    if len(slow) == 0:
        return fixed
    return join([fixed, slow])
