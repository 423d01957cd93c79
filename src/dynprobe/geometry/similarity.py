"""How alike two representations of the same points are.

Both are given as (points, width), row i of one belonging to row i of the other; widths may differ.
Everything is centred over the points and computed in float64. States too large to form are given
by the inner products of all pairs (``rec.gram()``): CKA takes them as they are, and
:func:`coordinates` turns them into points for the other measures.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynprobe.dimension.spectrum import components_for
from dynprobe.errors import DegenerateDataError, NonFiniteStatesError, ShapeError


def cka(x: Tensor, y: Tensor, *, debiased: bool = True) -> float:
    """Linear centred kernel alignment: 1 for the same up to rotation and scale.

    Parameters
    ----------
    x, y : Tensor
        (points, n) and (points, m).
    debiased : bool
        Without the bias of few points in many dimensions, which takes the biased value of two
        unrelated representations towards 1. Needs 4 points; may come out slightly negative.

    Raises
    ------
    ShapeError
        If the numbers of points differ, or are too small.
    NonFiniteStatesError
        For NaN or Inf.
    DegenerateDataError
        If all points of one are the same.

    Notes
    -----
    HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)), Kornblith et al. 2019, eq. 3; unbiased HSIC of
    Song et al. 2012, eq. 5, as in Nguyen et al. 2021. Costs points x n x m.
    """
    a, b = _pair(x, y, least=4 if debiased else 2)
    return _normalised(
        *(_hsic_of_features(p, q, debiased=debiased) for p, q in ((a, b), (a, a), (b, b)))
    )


def cka_of_grams(k: Tensor, l: Tensor, *, debiased: bool = True) -> float:  # noqa: E741
    """The same from inner products of all pairs of points, (points, points) each.

    For representations wider than there are points, or never formed. They need not be centred.
    Raises as :func:`cka` does.
    """
    least = 4 if debiased else 2
    a, b = (_checked_gram(g, name, least) for g, name in ((k, "The first"), (l, "The second")))
    if len(a) != len(b):
        raise ShapeError(_points_differ(len(a), len(b)))
    hsic = _unbiased_hsic if debiased else _biased_hsic
    return _normalised(hsic(a, b), hsic(a, a), hsic(b, b))


def procrustes(x: Tensor, y: Tensor, *, angular: bool = True) -> float:
    """Distance left when one representation is turned (or reflected) onto the other.

    Parameters
    ----------
    x, y : Tensor
        (points, n) and (points, m); the narrower one is padded with zeros.
    angular : bool
        The angle, in radians between 0 and pi / 2: a metric that does not depend on scale
        (Williams et al. 2021, eq. 7). Otherwise min |x - y Q|_F over orthogonal Q, in the units
        of the data (Schönemann 1966).

    Raises
    ------
    ShapeError, NonFiniteStatesError, DegenerateDataError
        As :func:`cka`.
    """
    a, b = _pair(x, y, least=2)
    if angular:
        a, b = a / a.norm(), b / b.norm()
    a, b = _narrow(a), _narrow(b)
    width = max(a.shape[1], b.shape[1])
    a, b = (torch.nn.functional.pad(p, (0, width - p.shape[1])) for p in (a, b))
    u, _, vh = torch.linalg.svd(b.T @ a)
    left = float((a - b @ (u @ vh)).norm())
    # arccos of a cosine near 1 would lose half the digits; the chord does not
    return 2 * math.asin(min(left / 2, 1.0)) if angular else left


def mean_cca(x: Tensor, y: Tensor, *, share: float = 0.99) -> float:
    """Mean canonical correlation of the leading principal components, 0 to 1.

    Parameters
    ----------
    x, y : Tensor
        (points, n) and (points, m).
    share : float
        Each is first reduced to the components that hold this share of its variance: directions
        of noise would otherwise count as much as the signal (SVCCA, Raghu et al. 2017).

    Raises
    ------
    ShapeError, NonFiniteStatesError, DegenerateDataError
        As :func:`cka`; ShapeError also where there are no more points than components, which
        correlate perfectly whatever they are.
    """
    if not 0 < share <= 1:
        raise ShapeError(f"share is {share}; give a share of the variance above 0 and up to 1.")
    kept = []
    for p in _pair(x, y, least=2):
        u, s, _ = torch.linalg.svd(p, full_matrices=False)
        rank = int((s > s[0] * 1e-10).sum())
        kept.append(u[:, : min(rank, components_for(s.square(), share))])
    widths = [u.shape[1] for u in kept]
    if sum(widths) >= len(kept[0]):
        raise ShapeError(
            f"{widths[0]} and {widths[1]} components of {len(kept[0])} points correlate perfectly "
            "whatever they are: give more points, or a smaller share of the variance."
        )
    return float(torch.linalg.svdvals(kept[0].T @ kept[1]).clamp(max=1).mean())


def coordinates(gram: Tensor) -> Tensor:
    """Points with given inner products, centred: (points, points) -> (points, rank).

    Classical scaling (Torgerson 1952). They are the original points up to a rotation, which no
    measure here sees.
    """
    g = _centred_gram(_checked_gram(gram, "The", least=2))
    values, vectors = torch.linalg.eigh(g)
    kept = values > values[-1] * 1e-13
    points: Tensor = vectors[:, kept] * values[kept].sqrt()
    return points


def _pair(x: Tensor, y: Tensor, least: int) -> tuple[Tensor, Tensor]:
    a, b = (_checked(p, name, least) for p, name in ((x, "The first"), (y, "The second")))
    if len(a) != len(b):
        raise ShapeError(_points_differ(len(a), len(b)))
    return a, b


def _points_differ(a: int, b: int) -> str:
    return (
        f"The first representation has {a} points and the second {b}. Row i of both must belong "
        "to the same stimulus: run both models on the same inputs and take the same steps."
    )


def _checked(x: Tensor, name: str, least: int) -> Tensor:
    """Centred float64 points."""
    if x.dim() != 2:
        raise ShapeError(
            f"{name} representation has shape {tuple(x.shape)}; needed is (points, width). "
            "rec.flat() gives the valid states of a recording."
        )
    p = _finite(x, name, least)
    centred = p - p.mean(0)
    if not float(centred.norm()) > 1e-12 * float(p.norm()):
        raise _constant(name)
    return centred


def _checked_gram(gram: Tensor, name: str, least: int) -> Tensor:
    if gram.dim() != 2 or gram.shape[0] != gram.shape[1]:
        raise ShapeError(
            f"{name} Gram matrix has shape {tuple(gram.shape)}; needed are the inner products of "
            "all pairs, (points, points), as rec.gram() gives them."
        )
    g = _finite(gram, name, least)
    size = float(g.diagonal().abs().mean())
    if not float(_centred_gram(g).diagonal().mean()) > 1e-13 * size:
        raise _constant(name)
    return g


def _finite(x: Tensor, name: str, least: int) -> Tensor:
    if len(x) < least:
        raise ShapeError(f"{name} representation has {len(x)} points; at least {least} are needed.")
    p = x.detach().to("cpu", torch.float64)
    if not bool(p.isfinite().all()):
        row = int((~p.isfinite()).any(1).nonzero()[0])
        raise NonFiniteStatesError(
            f"{name} representation holds NaN or Inf, first at point {row}. Leave such points out "
            "of both."
        )
    return p


def _constant(name: str) -> DegenerateDataError:
    return DegenerateDataError(
        f"All points of {name.lower()} representation are the same: there is nothing to compare."
    )


def _centred_gram(g: Tensor) -> Tensor:
    rows = g.mean(0, keepdim=True)
    return g - rows - g.mean(1, keepdim=True) + rows.mean()


def _narrow(x: Tensor) -> Tensor:
    """The same inner products in no more columns than points."""
    if x.shape[1] <= len(x):
        return x
    _, r = torch.linalg.qr(x.T)
    narrow: Tensor = r.T
    return narrow


def _normalised(xy: float, xx: float, yy: float) -> float:
    if not (xx > 0 and yy > 0):
        raise DegenerateDataError(
            "The debiased HSIC of a representation with itself is not positive: its points are too "
            "few for its dimension. Give more points."
        )
    return xy / math.sqrt(xx * yy)


def _biased_hsic(k: Tensor, l: Tensor) -> float:  # noqa: E741
    return float((_centred_gram(k) * l).sum())


def _unbiased_hsic(k: Tensor, l: Tensor) -> float:  # noqa: E741
    # centred first: it changes nothing but the rounding
    a, b = (_centred_gram(g) for g in (k, l))
    a, b = a - a.diagonal().diag(), b - b.diagonal().diag()
    return _song(len(a), float((a * b).sum()), a.sum(1), b.sum(1))


def _hsic_of_features(x: Tensor, y: Tensor, *, debiased: bool) -> float:
    """HSIC of centred points from their cross-covariance; no Gram matrix is formed."""
    both = float((x.T @ y).square().sum())
    if not debiased:
        return both
    own_x, own_y = x.square().sum(1), y.square().sum(1)
    # rows of a centred Gram matrix sum to zero, and the diagonal is left out
    return _song(len(x), both - float((own_x * own_y).sum()), -own_x, -own_y)


def _song(n: int, trace: float, row_x: Tensor, row_y: Tensor) -> float:
    """Unbiased HSIC from the trace and the row sums of Gram matrices without diagonal."""
    total = float(row_x.sum() * row_y.sum()) / ((n - 1) * (n - 2))
    return (trace + total - 2 / (n - 2) * float((row_x * row_y).sum())) / (n * (n - 3))
