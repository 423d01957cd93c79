"""The bootstrap of the participation ratio, by groups of points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dynprobe.dimension import participation_ratio
from dynprobe.dimension.resampling import interval
from dynprobe.dimension.spread import participation_ratio_spread


def walks(sequences, steps, seed=0, width=5):
    """Random walks, whose states follow each other, and which walk each state is of."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((sequences, steps, width)) * np.arange(1, width + 1)).cumsum(1)
    return torch.from_numpy(x.reshape(-1, width)), torch.arange(sequences).repeat_interleave(steps)


def of(x):
    return participation_ratio(torch.linalg.eigvalsh(torch.cov(x.T)))


def test_the_gram_matrix_gives_the_ratio_of_the_points_drawn():
    x, groups = walks(12, 4)
    x = x + 100  # far from the origin

    def ratio(drawn):
        return of(x.repeat_interleave(torch.as_tensor(drawn)[groups], dim=0))

    low, high = interval(ratio, 12, 50, 3)
    found = participation_ratio_spread(x, groups, n_resamples=50, random_state=3)
    assert found == pytest.approx((high - low) / 2, rel=1e-8)


def test_it_is_the_spread_over_runs_where_single_states_would_give_far_less():
    ratios = [of(walks(60, 20, s)[0]) for s in range(60)]
    x, groups = walks(60, 20)
    by_sequence = participation_ratio_spread(x, groups)
    by_state = participation_ratio_spread(x, torch.arange(len(x)))
    assert by_sequence / 1.96 == pytest.approx(np.std(ratios), rel=0.35)
    assert by_state < by_sequence / 2


def test_too_few_groups_or_no_variance_give_none():
    x, groups = walks(9, 20)
    assert participation_ratio_spread(x, groups) is None
    assert participation_ratio_spread(torch.ones(30, 2), torch.arange(30)) is None
    lone = torch.zeros(30, 2)
    lone[0] = 1  # about a third of the draws miss it
    assert participation_ratio_spread(lone, torch.arange(30)) is None
