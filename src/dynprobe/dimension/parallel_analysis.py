"""Components that stand out of what unrelated columns would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynprobe.dimension.linear import LinearEstimator
from dynprobe.dimension.settings import whole, within


class ParallelAnalysis(LinearEstimator):
    """Principal components whose variance exceeds that of the same points with shuffled columns.

    Counted from the first, up to the first that does not (Horn 1965; by permutation, Buja &
    Eyuboglu 1992). Shuffling each column keeps every feature's distribution and ends all relations
    between them.

    Parameters
    ----------
    n_shuffles : int
        Shuffled copies.
    quantile : float
        Of the shuffled copies' variances, component by component. Both defaults are those of
        scikit-dimension's ``lPCA(ver="parallel")``.
    random_state : int, numpy Generator or None
        Of the shuffles. None never touches NumPy's global state either.

    Attributes
    ----------
    dimension_ : int
        The number; 0 where not even the first stands out.
    null_ratio_ : ndarray
        (components,), what each share of the variance had to exceed.
    variance_ratio_ : ndarray
        (components,), shares of the variance, largest first.

    Notes
    -----
    Counts what is correlated between features: a feature that varies alone, however much, is none.
    Costs one spectrum a shuffle.
    """

    def __init__(
        self, n_shuffles: int = 100, *, quantile: float = 0.95, random_state: Any = 0
    ) -> None:
        self.n_shuffles = n_shuffles
        self.quantile = quantile
        self.random_state = random_state

    def _estimate(self, points: Tensor, shares: Tensor) -> None:
        shuffles = whole("n_shuffles", self.n_shuffles, 1)
        quantile = within("quantile", self.quantile, 0, 1 + 1e-15)
        rng = np.random.default_rng(self.random_state)
        x = points - points.mean(0)
        x = x / x.norm()
        array, smaller = x.cpu().numpy(), min(x.shape)
        null = np.empty((shuffles, smaller))
        for copy in null:
            shuffled = torch.from_numpy(rng.permuted(array, axis=0)).to(x.device)
            wide = shuffled.shape[1] > shuffled.shape[0]
            scatter = shuffled @ shuffled.T if wide else shuffled.T @ shuffled
            copy[:] = torch.linalg.eigvalsh(scatter).flip(0).cpu().numpy()
        self.null_ratio_ = np.quantile(null, quantile, axis=0)
        above = shares.cpu().numpy() > self.null_ratio_
        self.dimension_: int = smaller if above.all() else int(above.argmin())
