"""Labels and answers of sequences as numbers of one list of names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.analyzers.answers import IGNORED, Labels
from dynprobe.recording import Recording

#: No class: the label is unknown, or there is no readout.
UNKNOWN = -1
#: Of this many labels at once every combination has a colour of its own.
MAX_AT_ONCE = 3


@dataclass(frozen=True)
class Classes:
    """What labels and answers are called.

    Attributes
    ----------
    names : tuple of str
        By class.
    labels : Tensor or None
        (sequences,) class of each, ``UNKNOWN`` where there is none; None without labels that fit.
    problem : str
        Why there are no labels; empty where there are.
    at_once : int
        How many labels a sequence has at once: a class is then one combination of them; else 0.
    """

    names: tuple[str, ...]
    labels: Tensor | None
    problem: str
    at_once: int = 0

    @property
    def told_apart(self) -> bool:
        """Whether an answer is one of these; too many labels at once have no names together."""
        return self.at_once <= MAX_AT_ONCE

    def answers(self, logits: Tensor) -> Tensor:
        """Class that (n, logits) answer, (n,)."""
        if self.at_once:
            return _combined((logits > 0).long().cpu())
        return Labels(None).answers(logits)

    def confidence(self, logits: Tensor) -> Tensor:
        """Probability that (n, logits) give their answer, (n,)."""
        x = logits.detach().float()
        if self.at_once:
            return torch.sigmoid(x.abs()).prod(1).cpu()
        if x.shape[1] == 1:
            return torch.sigmoid(x.abs())[:, 0].cpu()
        # a vocabulary of classes is not copied in float64
        return (x.amax(1) - x.logsumexp(1)).exp().cpu()


def classes_of(recording: Recording, n_logits: int | None) -> Classes:
    """Name the classes of a recording.

    Parameters
    ----------
    n_logits : int or None
        Of the readout or the recorded logits; None where neither is known.
    """
    given = recording.labels
    names = recording.meta.classes or ()
    if given is None:
        return Classes(_named(names, n_logits or 0), None, "the recording has no labels")
    found = Labels.of(given, n_logits or _width(given))
    if found.values is None:
        return Classes(_named(names, n_logits or 0), None, found.problem)
    if not found.of_each:
        labels = found.values.masked_fill(found.values == IGNORED, UNKNOWN)
        most = int(labels.max()) + 1 if len(labels) else 0
        return Classes(_named(names, max(n_logits or 0, most)), labels, "")
    n = found.values.shape[1]
    if n > MAX_AT_ONCE:
        why = f"a sequence has {n} labels at once: too many combinations to tell apart by colour"
        return Classes(_named(names, n), None, why, at_once=n)
    unknown = (found.values == IGNORED).any(1)
    labels = _combined(found.values.clamp(min=0)).masked_fill(unknown, UNKNOWN)
    return Classes(_combinations(_named(names, n)[:n]), labels, "", at_once=n)


def _width(labels: Tensor) -> int:
    """Logits that labels ask for, where no logits say it."""
    if labels.dim() == 2 and labels.shape[1] > 1:
        return labels.shape[1]
    known = labels[labels != IGNORED]
    return max(2, int(known.max()) + 1) if known.numel() else 2


def _named(names: tuple[str, ...], n: int) -> tuple[str, ...]:
    """Names, completed where there are more classes; one logit tells two apart."""
    n = max(n, 2) if n else 0
    return (*names, *(f"class {i}" for i in range(len(names), n)))


def _combined(yes: Tensor) -> Tensor:
    """(n, labels) of 0 and 1 as one number each."""
    return (yes << torch.arange(yes.shape[1])).sum(1)


def _combinations(names: tuple[str, ...]) -> tuple[str, ...]:
    """Name of each of those numbers."""
    return tuple(
        " + ".join(name for i, name in enumerate(names) if number >> i & 1) or "none"
        for number in range(2 ** len(names))
    )
