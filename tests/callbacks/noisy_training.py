"""A small classifier with everything that a look at it could disturb, and its training."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import nn


class Noisy(nn.Module):
    """Dropout, running moments, a counter of calls, and draws from every random state."""

    def __init__(self, units: int = 12) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 5)
        self.dropout = nn.Dropout(0.2)
        self.norm = nn.BatchNorm1d(5)
        self.gru = nn.GRU(5, units, batch_first=True)
        self.readout = nn.Linear(units, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.frozen = nn.Dropout(0.5).eval()  # a mode of its own

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        torch.rand(3), random.random(), np.random.rand()  # whatever the mode
        x = self.dropout(self.embedding(tokens))
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return self.readout(self.frozen(self.gru(x)[0][:, -1]))


def batch(n: int = 40, seed: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (n, 10) and labels (n,): how often 0, 1 or 2 came most."""
    tokens = torch.randint(0, 6, (n, 10), generator=torch.Generator().manual_seed(seed))
    labels = torch.stack([(tokens == c).sum(1) for c in range(3)], 1).argmax(1)
    return tokens, labels


def seeded() -> Noisy:
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    return Noisy()
