"""How far back a word still counts: exchange it for another class's, and watch the margin."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.tasks import Batch

#: Lags that are tried, in words before the end; 1 is the last word.
LAGS = (1, 2, 3, 5, 8, 12, 18, 25, 35, 50)


@dataclass(frozen=True)
class Exchanges:
    """Pairs of words that speak for different answers.

    Attributes
    ----------
    words : Tensor
        (pairs, 2), int64.
    margins : Tensor
        (pairs, classes), what of the logits the first word should raise over the second.
    """

    words: Tensor
    margins: Tensor


@dataclass(frozen=True)
class Horizon:
    """How much an exchange matters by its lag.

    Attributes
    ----------
    lags : tuple of int
        Words before the end, 1 first.
    change : Tensor
        (lags,), mean change of the margin.
    """

    lags: tuple[int, ...]
    change: Tensor

    @property
    def relative(self) -> Tensor:
        """(lags,), the change relative to that at lag 1."""
        return self.change / self.change[0]

    @property
    def half_lag(self) -> float:
        """Lag at which it has fallen to half for the first time; infinite if it never does.

        Between two lags it is taken as linear. NaN where the last word does not count as it should.
        """
        if not float(self.change[0]) > 0:
            return math.nan
        share: list[float] = self.relative.tolist()
        for i in range(1, len(share)):
            if share[i] <= 0.5:
                part = (share[i - 1] - 0.5) / (share[i - 1] - share[i])
                return self.lags[i - 1] + part * (self.lags[i] - self.lags[i - 1])
        return math.inf


def evidence_exchanges(evidence: Tensor, n_classes: int) -> Exchanges:
    """Words of a synthetic task that speak for one answer and for another.

    With a score for each class or label, the best word of one and of the next, or the best and the
    worst of a label where there is such a word. With one score, the best word and the worst, whose
    margin is that of the last class over the first.

    Parameters
    ----------
    evidence : Tensor
        (words, n_scores), what each adds.
    n_classes : int
        Logits.
    """
    best, worst = evidence.argmax(0).tolist(), evidence.argmin(0).tolist()
    eye = torch.eye(n_classes, dtype=torch.float64)
    if evidence.shape[1] != n_classes:
        return Exchanges(torch.tensor([[best[0], worst[0]]]), (eye[-1] - eye[0])[None])
    if bool((evidence.min(0).values < 0).all()):
        return Exchanges(torch.tensor(list(zip(best, worst, strict=True))), eye)
    order = [(i, (i + 1) % n_classes) for i in range(n_classes)]
    return Exchanges(
        torch.tensor([[best[i], best[j]] for i, j in order]),
        torch.stack([eye[i] - eye[j] for i, j in order]),
    )


@torch.no_grad()
def horizon(
    model: Callable[[Tensor, Tensor], Tensor],
    batch: Batch,
    exchanges: Exchanges,
    lags: Sequence[int] = LAGS,
) -> Horizon:
    """Put one word or the other at each lag, in sequences that are long enough for all of them.

    Parameters
    ----------
    model
        Called as ``model(tokens, lengths)``, gives logits.
    batch
        Sequences; pair i of the exchanges is used in every so-manieth.
    exchanges
        Which words.
    lags
        1 first; those beyond the longest sequence are left out, and so are sequences shorter than
        the last lag that half of them reach.
    """
    reach = int(batch.lengths.double().median())
    kept = tuple(lag for lag in lags if lag <= reach)
    rows = (batch.lengths >= kept[-1]).nonzero().flatten()
    tokens, lengths = batch.tokens[rows], batch.lengths[rows]
    pair = torch.arange(len(rows)) % len(exchanges.words)
    every, change = torch.arange(len(rows)), []
    for lag in kept:
        logits = []
        for side in (0, 1):
            other = tokens.clone()
            other[every, lengths - lag] = exchanges.words[pair, side]
            logits.append(model(other, lengths).double())
        change.append(((logits[0] - logits[1]) * exchanges.margins[pair]).sum(1).mean())
    return Horizon(kept, torch.stack(change))
