"""Along which directions the recurrence integrates, and where each token pushes it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.base import Analyzer, Context
from dynprobe.analyzers.fixed_points import FixedPointsResult
from dynprobe.analyzers.manifold_dimension import ManifoldDimensionResult
from dynprobe.analyzers.results import Result
from dynprobe.dynamics.certificate import Status
from dynprobe.dynamics.fixed_points import FixedPoints, join
from dynprobe.dynamics.linearization import Linearization, linearize
from dynprobe.geometry.simplex import ReadoutGeometry, readout_geometry
from dynprobe.geometry.subspaces import orthonormal, random_share, share_inside
from dynprobe.recording import Recording

#: Percentiles reported of a time constant over the points.
PERCENTILES = (10, 50, 90)
TOP_MODES = 8


@dataclass(frozen=True)
class Deflections(Result):
    """Mean push of each token, on the first two principal components of the visited states.

    Attributes
    ----------
    tokens : tuple of str
        Names of the tokens, most frequent first.
    counts : Tensor
        (tokens,) occurrences.
    visited : Tensor
        (tokens, 2), mean of s_t - s_{t-1} over the recorded steps with this token.
    visited_length : Tensor
        (tokens,), norm of the mean deflection in the full space.
    exact : Tensor
        (tokens, 2), mean over fixed and slow points s* of F(s*, x_token) - s*.
    linear : Tensor
        (tokens, 2), mean over the same points of J_inp (x_token - x*).
    """

    tokens: tuple[str, ...]
    counts: Tensor
    visited: Tensor
    visited_length: Tensor
    exact: Tensor
    linear: Tensor


@dataclass(frozen=True)
class IntegrationDirectionResult(Result):
    """Slow modes at the fixed and slow points, what they line up with, and token deflections.

    Attributes
    ----------
    n_points : int
        Points that were linearised.
    eigenvalues : Tensor
        (points, state_dim), complex, by falling magnitude.
    time_constants : Tensor
        (modes, 3): percentiles 10, 50, 90 over the points of the slowest modes' tau, in `unit`.
    sequence_length : float
        Median length of the recorded sequences, in `unit`.
    n_integrating : int
        Median number of modes with tau at or above the sequence length.
    plane_dim : int
        Dimension of "the PC plane": the participation ratio of the visited states, rounded.
    slow_in_plane, null_in_plane : float
        Mean share of the slowest `plane_dim` right modes inside the PC plane; the 95th percentile
        of the same for a random direction.
    readout_in_slow, null_in_slow : float or None
        Mean share of the readout inside the span of these modes, and its random null.
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
    """

    n_points: int
    eigenvalues: Tensor
    time_constants: Tensor
    sequence_length: float
    n_integrating: int
    plane_dim: int
    slow_in_plane: float
    null_in_plane: float
    readout_in_slow: float | None
    null_in_slow: float | None
    readout: ReadoutGeometry | None
    readout_in_plane: ReadoutGeometry | None
    deflections: Deflections | None
    unit: str


class IntegrationDirection(Analyzer):
    """Linearise at fixed and slow points and compare the slow modes with plane and readout.

    Parameters
    ----------
    n_points : int
        How many points at most are linearised.
    n_tokens : int
        How many of the most frequent tokens are followed.
    """

    name = "integration_direction"
    requires = frozenset({"states", "recurrence"})

    def __init__(self, n_points: int = 64, n_tokens: int = 400) -> None:
        self.n_points = n_points
        self.n_tokens = n_tokens

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
        # slowest first, growing or fading: at a saddle a mode of |lambda| = 1.2 is fast
        tau, order = lin.time_constants.sort(dim=1, descending=True, stable=True)
        slow = _slow_spans(lin.right.gather(2, order[:, None].expand_as(lin.right)), k)
        readout = ctx.readout if ctx.has("readout") else None
        weight = None
        if readout is not None:
            weight = readout.centred() if readout.n_classes > 1 else readout.weight.double().cpu()
        vectors = None
        if readout is not None and readout.n_classes > 1:
            vectors = readout.weight.to("cpu", torch.float64)
        return IntegrationDirectionResult(
            n_points=len(points),
            eigenvalues=lin.eigenvalues,
            time_constants=meta.dt
            * torch.quantile(
                tau[:, :TOP_MODES],
                torch.tensor(PERCENTILES, dtype=torch.float64) / 100,
                dim=0,
                interpolation="nearest",
            ).T,
            sequence_length=meta.dt * length,
            n_integrating=int((tau >= length).sum(1).median()),
            plane_dim=k,
            slow_in_plane=float(torch.stack([share_inside(s, plane).mean() for s in slow]).mean()),
            null_in_plane=random_share(n, k, 0.95, seed=ctx.seed),
            readout_in_slow=(
                None
                if weight is None
                else float(torch.stack([share_inside(weight, s).mean() for s in slow]).mean())
            ),
            null_in_slow=(None if weight is None else random_share(n, k, 0.95, seed=ctx.seed + 1)),
            readout=None if vectors is None else readout_geometry(vectors),
            readout_in_plane=None if vectors is None else readout_geometry(vectors @ plane.T),
            deflections=self._deflections(ctx, lin, dimension.visited.components[:2]),
            unit=meta.unit,
        )

    def _deflections(self, ctx: Context, lin: Linearization, plane: Tensor) -> Deflections | None:
        rec = ctx.recording
        if rec.tokens is None or rec.inputs is None:
            return None
        ids, counts, steps, inputs = _by_token(rec, self.n_tokens)
        recurrence = ctx.recurrence
        at = lin.states.to(recurrence.device)
        exact, linear = [], []
        for x in inputs:
            held = x.to(at).expand(len(at), -1)
            exact.append((recurrence.step(at, held) - at).cpu().mean(0))
            offset = x.cpu() - lin.inputs
            linear.append((lin.input_jacobian @ offset.unsqueeze(-1)).squeeze(-1).mean(0))
        names = rec.meta.vocabulary
        return Deflections(
            tokens=tuple(
                names[i] if names is not None and i < len(names) else str(i) for i in ids.tolist()
            ),
            counts=counts,
            visited=steps @ plane.T,
            visited_length=steps.norm(dim=1),
            exact=torch.stack(exact) @ plane.T,
            linear=torch.stack(linear) @ plane.T,
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


def _slow_spans(modes: Tensor, k: int) -> list[Tensor]:
    """At each point, an orthonormal basis (k, n) of the span of the first k modes (columns).

    A complex pair spans a plane; where the cut falls inside a pair, its first half counts.
    """
    spans = []
    for right in modes:
        rows = torch.stack([right.real.T, right.imag.T], dim=1).flatten(0, 1)
        norms = rows.norm(dim=1)
        spans.append(orthonormal(_independent(rows[norms > 1e-12], k)))
    return spans


def _independent(rows: Tensor, k: int) -> Tensor:
    """The first k rows that are not in the span of those before (conjugates repeat a plane)."""
    kept: list[Tensor] = []
    for row in rows:
        left = row.clone()
        for other in kept:
            left = left - (left @ other) * other
        if float(left.norm()) > 1e-6 * float(row.norm()):
            kept.append(left / left.norm())
        if len(kept) == k:
            break
    return torch.stack(kept)


def _by_token(rec: Recording, n_tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the most frequent tokens: ids, counts, mean step (tokens, n), mean input (tokens, m)."""
    assert rec.tokens is not None
    assert rec.inputs is not None
    mask = rec.mask
    if rec.initial is None:  # then nobody knows how far the first token moved the state
        mask[:, 0] = False
    tokens = rec.tokens.to(mask.device)[mask].cpu()
    steps = (rec.states - rec.before)[mask].to("cpu", torch.float64)
    inputs = rec.inputs[mask].to("cpu", torch.float64)
    ids, index, counts = tokens.unique(return_inverse=True, return_counts=True)

    def mean(values: Tensor) -> Tensor:
        total = torch.zeros(len(ids), values.shape[1], dtype=torch.float64)
        out: Tensor = total.index_add_(0, index, values) / counts[:, None]
        return out

    top = counts.argsort(descending=True, stable=True)[:n_tokens]
    return ids[top], counts[top], mean(steps)[top], mean(inputs)[top]
