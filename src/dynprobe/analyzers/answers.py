"""What logits answer, and which labels can judge the answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: The label that stands for none: `ignore_index` of PyTorch's losses.
IGNORED = -100


@dataclass(frozen=True)
class Labels:
    """Labels of sequences that fit the logits of a readout.

    Attributes
    ----------
    values : Tensor or None
        On the CPU: (n,) classes, or (n, logits) of 0 and 1, a question for each logit; ``IGNORED``
        where unknown. None where there are none that fit.
    problem : str
        Why labels that were given do not fit; else empty.
    """

    values: Tensor | None
    problem: str = ""

    @classmethod
    def of(cls, given: Tensor | None, n_logits: int) -> Labels:
        """Read (n,) or (n, 1) classes, or (n, n_logits) of 0 and 1; anything else has a problem."""
        if given is None:
            return cls(None)
        values = given.detach().cpu()
        if values.dim() == 2 and values.shape[1] == 1:
            values = values[:, 0]
        classes = max(n_logits, 2)  # one logit tells two classes apart
        if values.dim() == 2 and values.shape[1] == n_logits:
            classes = 2
        elif values.dim() != 1:
            return cls(
                None,
                f"labels have shape {tuple(given.shape)}: needed is ({len(given)},) of classes, or "
                f"({len(given)}, {n_logits}) of 0 and 1",
            )
        known = values[values != IGNORED]
        if known.numel() == 0:
            return cls(None, f"every label is {IGNORED}, which stands for none")
        wrong = known[~torch.isin(known.double(), torch.arange(classes, dtype=torch.float64))]
        if len(wrong):
            return cls(
                None, f"a label is {wrong[0].item():g}: needed are whole numbers 0 to {classes - 1}"
            )
        return cls(values.long())

    @property
    def of_each(self) -> bool:
        """Whether every logit has a question of its own."""
        return self.values is not None and self.values.dim() == 2

    @property
    def n_sequences(self) -> int:
        """Sequences with a known label."""
        if self.values is None:
            return 0
        return int((self.values != IGNORED).reshape(len(self.values), -1).any(1).sum())

    def answers(self, logits: Tensor) -> Tensor:
        """Class of the largest logit, (n,); one logit, or one of each question, by its sign."""
        if self.of_each:
            return (logits > 0).long().cpu()
        if logits.shape[1] == 1:
            return (logits[:, 0] > 0).long().cpu()
        return logits.argmax(1).cpu()

    def accuracy(self, answers: Tensor) -> float | None:
        """Share of the known labels that are answered; None without."""
        if self.values is None:
            return None
        known = self.values != IGNORED
        return float((answers == self.values)[known].double().mean())

    def chance(self, answers: Tensor) -> float:
        """What the same answer to every sequence reaches at best.

        Against the known labels, or, where there are none, against `answers`: to each question.
        """
        wanted = answers if self.values is None else self.values
        columns = [c[c != IGNORED] for c in wanted.reshape(len(wanted), -1).T]
        most = [int(c.unique(return_counts=True)[1].max()) for c in columns if len(c)]
        return sum(most) / sum(len(c) for c in columns)
