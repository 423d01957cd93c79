"""A classifier and batches for it, for tests of what a probe hands on."""

from __future__ import annotations

import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self, kind=nn.GRU, **options):
        super().__init__()
        self.emb = nn.Embedding(11, 5)
        self.rnn = kind(5, 6, batch_first=True, **options)
        self.fc = nn.Linear(6, 3)

    def forward(self, input_ids, lengths=None, labels=None, state=None):
        out, state = self.rnn(self.emb(input_ids), state)
        last = torch.full((len(out),), out.shape[1]) if lengths is None else lengths
        return self.fc(out[torch.arange(len(out)), last - 1]), state


def batches(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for i in range(n):
        size = (3 + i % 2, 4 + i)
        lengths = torch.randint(1, size[1] + 1, (size[0],), generator=generator)
        lengths[0] = size[1]
        yield {
            "input_ids": torch.randint(0, 11, size, generator=generator),
            "lengths": lengths,
            "labels": torch.arange(size[0]) % 3,
        }
