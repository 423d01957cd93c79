"""The linear system that foresees trajectories best, one step ahead (dynamic mode decomposition).

States are stacked with their predecessors (delay embedding), so that what a nonlinear or partly
observed system does becomes more nearly linear, then reduced to their leading principal
components; a matrix and an offset are fitted there by least squares (Schmid 2010; with delays
Brunton et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynprobe.dimension.spectrum import components_for
from dynprobe.errors import DegenerateDataError, NonFiniteStatesError, ShapeError

#: Share of the variance that the components hold where no rank is given.
SHARE = 0.99
#: Directions below this, against the widest, are rounding.
ROUNDING = 1e-10


@dataclass(frozen=True)
class DMD:
    """z' = matrix @ z + offset on reduced, delay-embedded states. Float64, on the CPU.

    Attributes
    ----------
    matrix : Tensor
        (rank, rank).
    offset : Tensor
        (rank,).
    r2 : float
        Share of the variance of z' that the fit explains one step ahead, 1 at best; each component
        counts by its variance, whether whitened or not.
    r2_standing : float
        The same for the forecast that nothing moves, z' = z: what slow states give anyway.
    rank, delays : int
        Size of z; how many states, the present one included, make one embedded state.
    max_rank : int
        Components that the data have at all, above rounding.
    variance_share : float
        Of the embedded states, held by the `rank` components.
    """

    matrix: Tensor
    offset: Tensor
    r2: float
    r2_standing: float
    rank: int
    delays: int
    max_rank: int
    variance_share: float

    @property
    def eigenvalues(self) -> Tensor:
        """(rank,), complex, by falling magnitude."""
        values: Tensor = torch.linalg.eigvals(self.matrix)
        return values[values.abs().argsort(descending=True, stable=True)]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers; of complex numbers both parts."""
        return {
            "matrix": self.matrix.tolist(),
            "offset": self.offset.tolist(),
            "eigenvalues_real": self.eigenvalues.real.tolist(),
            "eigenvalues_imag": self.eigenvalues.imag.tolist(),
            "r2": self.r2,
            "r2_standing": self.r2_standing,
            "rank": self.rank,
            "delays": self.delays,
            "max_rank": self.max_rank,
            "variance_share": self.variance_share,
        }

    def __repr__(self) -> str:
        return (
            f"DMD(rank {self.rank}, {self.delays} delays: one step ahead R^2 {self.r2:.4f}, "
            f"standing still {self.r2_standing:.4f}; {self.variance_share:.1%} of the variance)"
        )


def dmd(
    trajectories: Tensor | Sequence[Tensor],
    *,
    delays: int = 1,
    rank: int | None = None,
    whiten: bool = True,
) -> DMD:
    """Fit one linear system to trajectories.

    Parameters
    ----------
    trajectories : Tensor or sequence of Tensor
        (trajectories, time, n), one trajectory (time, n), or a list of (time, n) of different
        length. Trajectories no longer than `delays` do not count.
    delays : int
        States that make one embedded state, the present one included; 1 embeds nothing.
    rank : int, optional
        Principal components of the embedded states that are kept; by default those that hold 99 %
        of their variance.
    whiten : bool
        Scale components to unit variance. The matrix is then the same, up to an orthogonal change
        of coordinates, for every invertible linear image of the states (at full rank), as in
        Ostrow et al. 2023; otherwise for rotations only.

    Raises
    ------
    ShapeError
        If there is no step to fit, or fewer steps than unknowns, or the data have fewer than
        `rank` components.
    NonFiniteStatesError
        For NaN or Inf.
    DegenerateDataError
        If nothing moves at all.

    Examples
    --------
    >>> import torch
    >>> from dynprobe.similarity import dmd
    >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    >>> states = [torch.tensor([1.0, 0.0])]
    >>> for _ in range(20):
    ...     states.append(0.9 * turn @ states[-1])
    >>> dmd(torch.stack(states)).eigenvalues.abs()
    tensor([0.9000, 0.9000], dtype=torch.float64)
    """
    embedded = [_embed(t, delays) for t in _checked(trajectories, delays)]
    points = torch.cat(embedded)
    mean = points.mean(0)
    _, s, vh = torch.linalg.svd(points - mean, full_matrices=False)
    max_rank = int((s > ROUNDING * max(float(s[0]), float(mean.norm()))).sum())
    if max_rank == 0:
        raise DegenerateDataError("All states are the same: there are no dynamics to fit.")
    if rank is None:
        rank = min(components_for(s.square(), SHARE), max_rank)
    if not 1 <= rank <= max_rank:
        raise ShapeError(
            f"rank is {rank}, but {delays} delays of these states have {max_rank} independent "
            "components: give a rank from 1 to that, or more delays."
        )
    steps = sum(len(e) - 1 for e in embedded)
    if steps <= rank:
        raise ShapeError(
            f"{steps} steps do not determine a {rank} x {rank} matrix and an offset: give more "
            "trajectories or a smaller rank."
        )
    basis = vh[:rank].T
    scale = s[:rank] / len(points) ** 0.5
    reduced = [(e - mean) @ basis / scale for e in embedded]
    now, then = torch.cat([z[:-1] for z in reduced]), torch.cat([z[1:] for z in reduced])
    matrix = torch.linalg.lstsq(now - now.mean(0), then - then.mean(0), driver="gelsd").solution.T
    offset = then.mean(0) - matrix @ now.mean(0)
    spread = ((then - then.mean(0)) * scale).square().sum()

    def explained(forecast: Tensor) -> float:
        return float(1 - ((then - forecast) * scale).square().sum() / spread)

    return DMD(
        matrix=matrix if whiten else scale[:, None] * matrix / scale,
        offset=offset if whiten else scale * offset,
        r2=explained(now @ matrix.T + offset),
        r2_standing=explained(now),
        rank=rank,
        delays=delays,
        max_rank=max_rank,
        variance_share=float(s[:rank].square().sum() / s.square().sum()),
    )


def _checked(trajectories: Tensor | Sequence[Tensor], delays: int) -> list[Tensor]:
    if delays < 1:
        raise ShapeError(f"delays is {delays}; 1, the present state alone, is the least.")
    if isinstance(trajectories, Tensor) and trajectories.dim() == 2:
        trajectories = trajectories[None]
    series = [t.detach().to("cpu", torch.float64) for t in trajectories]
    if any(t.dim() != 2 for t in series) or len({t.shape[1] for t in series}) > 1:
        shapes = sorted({tuple(t.shape) for t in series})
        raise ShapeError(
            f"Trajectories have shapes {shapes[:4]}; needed is (time, n) each, with one n."
        )
    for i, t in enumerate(series):
        if not bool(t.isfinite().all()):
            raise NonFiniteStatesError(f"Trajectory {i} holds NaN or Inf; leave it out.")
    long = [t for t in series if len(t) > delays]
    if not long:
        longest = max((len(t) for t in series), default=0)
        raise ShapeError(
            f"The longest trajectory has {longest} states: with delays={delays} at least "
            f"{delays + 1} are needed for one step."
        )
    return long


def _embed(series: Tensor, delays: int) -> Tensor:
    """(time, n) -> (time - delays + 1, delays * n): each row `delays` states, oldest first."""
    windows: Tensor = series.unfold(0, delays, 1).transpose(1, 2)
    return windows.flatten(1)
