"""Points as every estimator takes them: a finite float64 tensor, (points, features)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynprobe.errors import NonFiniteStatesError, ShapeError

#: squares of larger values, summed over features, may overflow
LARGEST = 1e150


def as_points(X: Any) -> Tensor:
    """Return `X` as float64 points, on its own device and without its graph of gradients.

    Parameters
    ----------
    X : Tensor or array-like
        (points, features), any real dtype.

    Raises
    ------
    ShapeError
        If X is not two-dimensional, holds fewer than two points or no feature, or is complex.
    NonFiniteStatesError
        For NaN or Inf, or values too large to be squared.
    """
    # a copy of an array: torch does not share memory that it may not write
    x = X.detach() if isinstance(X, Tensor) else torch.tensor(np.asarray(X))
    if x.is_complex():
        raise ShapeError(
            "The points are complex. Give their real and imaginary parts side by side: "
            "torch.view_as_real(X).flatten(1)."
        )
    if x.dim() != 2 or x.shape[1] == 0:
        raise ShapeError(
            f"The points have shape {tuple(x.shape)}; needed is (points, features). "
            "rec.flat() gives the valid states of a recording."
        )
    if len(x) < 2:
        raise ShapeError(f"A dimension needs at least 2 points; n_samples={len(x)}.")
    # Apple's accelerator has no float64
    points = (x.cpu() if x.device.type == "mps" else x).to(torch.float64)
    if not bool(points.isfinite().all()):
        row = int((~points.isfinite()).any(1).nonzero()[0])
        raise NonFiniteStatesError(
            f"The points hold NaN or Inf, first at point {row}. Leave such points out."
        )
    if float(points.abs().max()) > LARGEST:
        raise NonFiniteStatesError(
            f"The points hold values above {LARGEST:g}, whose squares overflow: divide them by a "
            "large number. A dimension does not depend on the scale."
        )
    return points
