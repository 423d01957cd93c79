"""Correlation dimension over nearly all distances between points."""

from __future__ import annotations

import numbers
from typing import Any

import torch

from dynprobe.dimension.points import as_points
from dynprobe.dimension.settings import whole
from dynprobe.errors import DegenerateDataError, ParameterError


def correlation_slope(
    X: Any, *, percentiles: tuple[float, float] = (2.5, 97.5), n_radii: int = 100
) -> float:
    """Slope of log C(r) over log r, C(r) the share of pairs nearer than r, by least squares.

    What Aitken et al. 2020 (arXiv 2010.15114) call the correlation dimension: their published
    analysis takes the radii between these percentiles of all distances, once points nearer than
    0.025 to another are left out, which is not done here. Near the largest
    distances C(r) hardly grows, so that it is lower than :class:`CorrelationDimension`, which
    looks at each point's nearest: use it to compare with their numbers, not as a dimension.

    Parameters
    ----------
    X
        (points, features), an array or a tensor. All distances are held and sorted at once,
        about 16 bytes times the square of the number of points.
    percentiles
        Of the distances, from 0 to 100: the smallest and the largest radius, each the distance of
        the nearest rank.
    n_radii
        Radii, at least 2, equally far apart in log r.

    Raises
    ------
    ShapeError, NonFiniteStatesError
        As for every estimator of this package.
    ParameterError
        If percentiles or n_radii are out of range.
    DegenerateDataError
        If the radii are equal, or the smallest one is zero.
    """
    if (
        len(percentiles) != 2
        or not all(isinstance(end, numbers.Real) for end in percentiles)
        or not 0 <= percentiles[0] < percentiles[1] <= 100
    ):
        raise ParameterError(f"percentiles are {percentiles}; give 0 <= low < high <= 100.")
    low, high = percentiles
    whole("n_radii", n_radii, 2)
    distances = torch.pdist(as_points(X)).sort().values
    ends = (len(distances) - 1) * torch.tensor([low, high], dtype=torch.float64) / 100
    near, far = (float(distances[int(i)]) for i in ends.round())
    if not 0 < near < far:
        raise DegenerateDataError(
            f"The percentiles {low:g} and {high:g} of the distances are {near:.3g} and {far:.3g}: "
            "no slope can be taken between them. Leave points that coincide out, or set the "
            "percentiles further apart."
        )
    radii = torch.logspace(0, 1, n_radii, base=far / near, dtype=torch.float64).to(distances) * near
    # as pairs "nearer than r" are counted; at the first radius that may be none
    nearer = torch.searchsorted(distances, radii).clamp(min=1)
    x, y = radii.log(), (nearer / len(distances)).log()
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())
