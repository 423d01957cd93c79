"""The linear dimension of one cloud of states, how sure it is, and what chance would give."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from dynprobe.analyzers.results import Result
from dynprobe.dimension.spectrum import components_for, participation_ratio
from dynprobe.dimension.spread import participation_ratio_spread
from dynprobe.geometry.moments import Moments

#: Shuffled copies behind `components_above_null`.
SHUFFLES = 20


@dataclass(frozen=True)
class CloudDimension(Result):
    """Linear dimension of one cloud of states.

    Attributes
    ----------
    count : int
        Number of states.
    participation_ratio : float
        (sum v)^2 / sum v^2 of the variances v.
    components_90, components_95 : int
        Principal components that hold 90 % and 95 % of the variance.
    components_simplex : int or None
        Components that hold N / (N + 1) of the variance, N the number of classes (the threshold
        of Aitken et al. 2020); None where the number of classes is unknown.
    variance_ratio : Tensor
        (state_dim,), share of each component, largest first.
    components : Tensor
        (state_dim, state_dim), principal components as rows.
    mean : Tensor
        (state_dim,).
    sampled : int
        Number of states behind the next two: a uniform sample of all.
    participation_ratio_interval : tuple of float or None
        95 % bootstrap interval over sequences, as wide as if only the sample had been seen: how
        far the number would move with other sequences of the same kind. It says nothing of other
        networks. None with fewer than 10 sequences.
    components_above_null : int or None
        Components of the sample whose variance exceeds the 95 % quantile of 20 copies with the
        values of each unit shuffled (:class:`dynprobe.dimension.ParallelAnalysis`): how many
        directions units share, beyond chance. None where no state differs from another.
    """

    count: int
    participation_ratio: float
    components_90: int
    components_95: int
    components_simplex: int | None
    variance_ratio: Tensor
    components: Tensor
    mean: Tensor
    sampled: int
    participation_ratio_interval: tuple[float, float] | None
    components_above_null: int | None


def cloud_dimension(
    moments: Moments,
    n_classes: int | None,
    sample: Tensor,
    groups: Tensor | None,
    *,
    seed: int,
) -> CloudDimension:
    """Measure a cloud.

    Parameters
    ----------
    moments : Moments
        Of all its states.
    n_classes : int or None
        For `components_simplex`.
    sample : Tensor
        (sampled, state_dim), some of the states.
    groups : Tensor or None
        (sampled,), which of these were not drawn independently. None: no sample but all there is,
        such as the fixed points of a map, so that an interval would mean nothing.
    seed : int
        Of resampling and shuffling.
    """
    variances, components = moments.principal_components()
    ratio = participation_ratio(variances)
    return CloudDimension(
        count=moments.count,
        participation_ratio=ratio,
        components_90=components_for(variances, 0.90),
        components_95=components_for(variances, 0.95),
        components_simplex=(
            None if n_classes is None else components_for(variances, n_classes / (n_classes + 1))
        ),
        variance_ratio=variances / variances.sum(),
        components=components,
        mean=moments.mean,
        sampled=len(sample),
        participation_ratio_interval=_interval(ratio, sample, groups, seed),
        components_above_null=_above_null(sample, seed),
    )


def _interval(
    ratio: float, sample: Tensor, groups: Tensor | None, seed: int
) -> tuple[float, float] | None:
    if groups is None or math.isnan(ratio):
        return None
    half = participation_ratio_spread(sample, groups, random_state=seed)
    return None if half is None else (max(ratio - half, 1.0), ratio + half)


def _above_null(sample: Tensor, seed: int) -> int | None:
    if len(sample) < 2 or bool((sample == sample[0]).all()):
        return None
    # here, because estimators load scikit-learn
    from dynprobe.dimension.parallel_analysis import ParallelAnalysis

    return ParallelAnalysis(SHUFFLES, random_state=seed).fit(sample).dimension_
