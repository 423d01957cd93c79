"""Linear attention as its definition reads, with the T x T matrix, in float64."""

from __future__ import annotations

import torch

MAPS = {
    "elu": lambda x: torch.where(x > 0, x + 1, x.clamp(max=0).exp()),
    "relu": torch.relu,
    "squared_relu": lambda x: torch.relu(x) ** 2,
    None: lambda x: x,
}


def quadratic(
    q, k, v, *, feature_map="elu", eps=1e-6, normalize=True, decay=None, mask=None, causal=True
):
    """(batch, heads, time, M) and the weights (batch, heads, time, time), unnormalised."""
    phi = MAPS[feature_map]
    q, k, v = (x.double() for x in (q, k, v))
    weights = phi(q) @ phi(k).mT
    i = torch.arange(q.shape[2])
    if causal:
        weights = weights.tril()
    if decay is not None:
        lag = (i[:, None] - i).clamp(min=0)
        weights = weights * torch.as_tensor(decay).double()[:, None, None] ** lag
    if mask is not None:
        weights = weights * mask[:, None, None, :]
    total = weights.sum(-1, keepdim=True) + eps if normalize else 1.0
    return weights @ v / total


def relative(got, wanted):
    """Relative error in the Frobenius norm."""
    return ((got.double() - wanted.double()).norm() / wanted.double().norm()).item()
