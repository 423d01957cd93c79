"""Systems whose fixed points, eigenvalues and dimension are known exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.function import as_recurrence


def linear_system(
    eigenvalues: list[float], *, offset: Tensor | None = None, seed: int = 0
) -> tuple[Recurrence, Tensor, Tensor]:
    """s' = A s + b + x with given real eigenvalues in a random, non-orthogonal basis.

    Returns
    -------
    recurrence, matrix, fixed_point
        The fixed point under zero input is (I - A)^-1 b; where an eigenvalue is 1 it is one point
        of a continuum (b is then projected so that there is one).
    """
    generator = torch.Generator().manual_seed(seed)
    n = len(eigenvalues)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    basis = q + 0.2 * torch.randn(n, n, generator=generator, dtype=torch.float64)
    lam = torch.tensor(eigenvalues, dtype=torch.float64)
    matrix = basis @ torch.diag(lam) @ torch.linalg.inv(basis)
    b = torch.randn(n, generator=generator, dtype=torch.float64) if offset is None else offset
    in_modes = torch.linalg.solve(basis, b)
    marginal = lam == 1
    in_modes = torch.where(marginal, 0.0, in_modes)
    b = basis @ in_modes
    fixed = basis @ torch.where(marginal, 0.0, in_modes / torch.where(marginal, 1.0, 1 - lam))
    recurrence = as_recurrence(lambda s, x: s @ matrix.T + b + x, state_dim=n, input_dim=n)
    return recurrence, matrix, fixed


def ring_attractor(
    units: int = 128, *, noise: float = 0.0, gain: float = 1.5, seed: int = 0
) -> tuple[nn.RNN, float]:
    """An nn.RNN of tanh units with a ring of fixed points, in float64.

    W_ij = (2 g / N) cos(theta_i - theta_j) has rank two, so the fixed points are
    h_i = tanh(r cos(theta_i - phi)): r solves r = (2 g / N) sum_i tanh(r cos theta_i) cos theta_i.
    With N angles the ring is exact up to a ripple that falls faster than exponentially in N (it
    is rounding from N = 64 on). Noise on the weights breaks it into a few pinned points.

    Parameters
    ----------
    units : int
        N.
    noise : float
        Standard deviation of noise on the weights, divided by sqrt(N).
    gain : float
        g > 1; the ring exists above 1.

    Returns
    -------
    module, radius
        The radius r of the ring in pre-activation.
    """
    angle = 2 * math.pi * torch.arange(units, dtype=torch.float64) / units
    weight = 2 * gain / units * torch.cos(angle[:, None] - angle[None])
    radius = 1.0
    for _ in range(10_000):
        h = torch.tanh(radius * torch.cos(angle))
        radius = float(2 * gain / units * (h * torch.cos(angle)).sum())
    if noise:
        generator = torch.Generator().manual_seed(seed)
        jitter = torch.randn(units, units, generator=generator, dtype=torch.float64)
        weight = weight + noise * jitter / math.sqrt(units)
    return _tanh_network(weight), radius


def planted_network(
    units: int, points: int = 5, *, gain: float = 0.5, seed: int = 0
) -> tuple[nn.RNN, Tensor]:
    """An nn.RNN of tanh units in float64 with given fixed points, among others.

    Its weights take each planted point to its own pre-activation, W P = atanh(P), and directions
    outside of the points' span through a random matrix.

    Parameters
    ----------
    units, points : int
        Sizes.
    gain : float
        Spectral radius of the random part.

    Returns
    -------
    module, planted
        And the points, (points, units). A bias-free tanh network is odd: the origin and the
        mirrored points are fixed, too.
    """
    generator = torch.Generator().manual_seed(seed)
    planted = 1.6 * torch.rand(points, units, generator=generator, dtype=torch.float64) - 0.8
    inverse = torch.linalg.pinv(planted.T)  # (points, units)
    noise = torch.randn(units, units, generator=generator, dtype=torch.float64)
    weight = planted.atanh().T @ inverse
    weight += gain / math.sqrt(units) * (noise - (noise @ planted.T) @ inverse)
    return _tanh_network(weight), planted


def _tanh_network(weight: Tensor) -> nn.RNN:
    """h' = tanh(W h + 0 x), in float64."""
    # by way of the meta device: an initialisation would draw from the global random state
    module = nn.RNN(1, len(weight), batch_first=True, dtype=torch.float64, device="meta")
    module = module.to_empty(device="cpu")
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.copy_(weight if name == "weight_hh_l0" else torch.zeros_like(p))
    return module


def ring_states(units: int, radius: float, phases: Tensor) -> Tensor:
    """Points of the ring at given phases, (len(phases), units)."""
    angle = 2 * math.pi * torch.arange(units, dtype=torch.float64) / units
    return torch.tanh(radius * torch.cos(angle[None] - phases[:, None]))
