"""When the members of a stack have stopped changing: a rule stated beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dynprobe.dimension import participation_ratio
from dynprobe.geometry.moments import Moments
from dynprobe.nn.stacked import Stack
from dynprobe.tasks.batch import Batch
from dynprobe.tasks.scoring import hits

#: Of :class:`Settling`, what is asked of the checks; the rest is how they are made.
RULE = ("patience", "pr_tol", "accuracy_tol", "min_steps")


@dataclass(frozen=True)
class Check:
    """One member at one step.

    Attributes
    ----------
    step : int
        Steps done.
    accuracy : float
        On the validation sequences.
    participation_ratio : float
        Of the states visited on them, see :func:`look`.
    """

    step: int
    accuracy: float
    participation_ratio: float


@dataclass(frozen=True)
class Settling:
    """Stop where accuracy and dimension have stopped changing.

    Every `check_every` steps each member is evaluated on the same validation sequences. It has
    settled when at least `min_steps` are done and, over the last `patience` checks, the range of
    its participation ratio is below `pr_tol` times their mean and the range of its accuracy is
    below `accuracy_tol`.

    The defaults come from three GRUs of 128 units (3 classes, length 50, batch 128, L2 5e-4, no
    cooldown, seeds 0, 1, 2) that were evaluated every 50 steps for 6000. At the reference's
    learning rate accuracy never rests: 0.99 to 1.00 in nine of ten checks after step 4000, with a
    dip to 0.965 as late as step 5250. The participation ratio, its mean over 1000 steps, is 2.23
    to 2.28 up to step 2000, then 2.17 to 2.19, 2.13 to 2.15, 2.11 to 2.13, and 2.09 to 2.11 up to
    6000; it falls in stretches that are calm for 1000 steps and then go on falling. With
    ``min_steps=2000`` the rule mistook such stretches at steps 2800 to 3000 for the end, 3.6 to
    3.9 % above the last mean. With 4000 it stopped members, over five choices of when the first
    check falls, at steps 4000 to 5950 and ratios at most 1.3 % from theirs.

    A rule cannot tell a network that has converged from one whose learning rate, which falls by
    half every 2300 steps, has become too small to change it. It says that training on by this
    recipe would change little, which is what a figure of this recipe needs.

    Attributes
    ----------
    check_every, patience, pr_tol, accuracy_tol, min_steps
        See above.
    sequences, seed
        How many validation sequences, and their seed, which no training stream should have.
    """

    check_every: int = 250
    patience: int = 4
    pr_tol: float = 0.01
    accuracy_tol: float = 0.01
    min_steps: int = 4000
    sequences: int = 600
    seed: int = 3_000_003

    def __post_init__(self) -> None:
        if min(self.check_every, self.sequences) < 1 or self.patience < 2:
            raise ValueError(
                f"check_every is {self.check_every}, sequences {self.sequences}, patience "
                f"{self.patience}. Pass at least 1, 1 and 2: change shows between two checks."
            )

    def settled(self, checks: Sequence[Check]) -> bool:
        """Whether a member with these checks, in order, has settled."""
        last = checks[-self.patience :]
        if len(last) < self.patience or last[-1].step < self.min_steps:
            return False
        ratios = [check.participation_ratio for check in last]
        accuracies = [check.accuracy for check in last]
        spread = (max(ratios) - min(ratios)) / (sum(ratios) / len(ratios))
        return spread < self.pr_tol and max(accuracies) - min(accuracies) < self.accuracy_tol


@torch.no_grad()
def look(stack: Stack, batch: Batch, step: int, *, at_once: int = 128) -> list[Check]:
    """Evaluate every member on the same sequences.

    The participation ratio is that of the PCA variances of the states h_1, h_3, ... before the
    last one, h_L, over all sequences: the states of the reference analysis. An LSTM's state is
    [h, c].

    Parameters
    ----------
    stack
        What is evaluated.
    batch
        Validation sequences.
    step
        Steps done.
    at_once
        Sequences run together.

    Returns
    -------
    list of Check
        One for each member. Without a visited state, in sequences of one word, the participation
        ratio is NaN.
    """
    models = len(stack)
    correct = torch.zeros(models)
    moments: list[Moments] = []
    for rows in torch.arange(len(batch)).split(at_once):
        tokens = batch.tokens[rows].expand(models, -1, -1).to(stack.device)
        lengths = batch.lengths[rows]
        logits = stack(tokens, lengths.expand(models, -1).to(stack.device)).cpu()
        correct += torch.stack([hits(member, batch.labels[rows]).sum() for member in logits])
        kept = torch.arange(0, tokens.shape[2], 2) < lengths[:, None] - 1
        points = stack.states(tokens)[:, :, ::2][:, kept.to(stack.device)]
        new = [Moments.of(member) for member in points]
        moments = [a.merge(b) for a, b in zip(moments, new, strict=True)] if moments else new
    return [
        Check(step, float(right) / len(batch), participation_ratio(m.principal_components()[0]))
        for right, m in zip(correct, moments, strict=True)
    ]
