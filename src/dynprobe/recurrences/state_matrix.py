"""All states of a recording as one matrix, a row for each token, whether they are formed or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dynprobe.errors import NonFiniteStatesError, UnknownNameError, suggest
from dynprobe.recurrences.factors import Factors
from dynprobe.recurrences.rank_one import RankOne
from dynprobe.recurrences.states import Factored, Formed, Normalised, States, per_normaliser

#: Which states: as they are; divided by the number of tokens so far; divided row by row by their
#: normaliser. An undecayed sum grows with time, the others are means.
STATE, PER_TOKEN, PER_NORMALISER = OF = ("S", "S/t", "S/z")

#: What sums of many tokens may be off by, in units of rounding of the states' dtype; and squares
#: of them summed in float64, in units of its own. Both several times what was seen.
ROUNDINGS, ROUNDINGS_OF_SQUARES = 8, 256


def state_matrix(
    states: Tensor | Factors,
    mask: Tensor,
    of: str = STATE,
    *,
    form: RankOne | None = None,
    steps: Tensor | None = None,
) -> StateMatrix:
    """States, formed or not, as a matrix.

    Parameters
    ----------
    states : Tensor or Factors
        (sequences, time, state_dim).
    mask : Tensor
        (sequences, time), which of them count.
    of : {"S", "S/t", "S/z"}
        The states; each divided by the number of tokens so far; or the matrices alone, each row
        divided by its normaliser.
    form : RankOne, optional
        How matrices lie in formed states; for "S/z".
    steps : Tensor, optional
        (sequences, time), the step of each state, counted from 0, if it is not every step.

    Raises
    ------
    UnknownNameError
        If `of` is something else, or "S/z" of states without a normaliser, or without a form.
    """
    if of not in OF:
        raise UnknownNameError(f"There are no states of={of!r}. {suggest(of, OF)}")
    if isinstance(states, Factors):
        form = states.form
    normalised = None
    if of == PER_NORMALISER:
        normalised = _with_normaliser(form)
    weight = mask.to(states.start if isinstance(states, Factors) else states)
    if of == PER_TOKEN:
        if steps is None:
            steps = torch.arange(mask.shape[1], device=mask.device)
        weight = weight / (steps.to(mask.device) + 1).clamp(min=1)
    if isinstance(states, Factors):
        return StateMatrix(
            Factored(states) if normalised is None else Normalised(states), mask, weight
        )
    if normalised is not None:
        states = per_normaliser(normalised.matrix(states)).flatten(2)
    return StateMatrix(Formed(states.masked_fill(~mask[..., None], 0)), mask, weight)


def _with_normaliser(form: RankOne | None) -> RankOne:
    """The form, if it is known and has one."""
    if form is None:
        raise UnknownNameError(
            "Whether and where these states hold a normaliser is not known, so that there is no "
            "'S/z': the form of the recurrence is kept with factors, and with states formed of "
            "them, not with some of the states (store='final', Store(every=)), nor with arrays or "
            "recurrences that are not of rank one. Record with store='factors'."
        )
    if not form.normaliser:
        raise UnknownNameError(
            "These states have no normaliser, so that there is no 'S/z': it is for linear "
            "attention with normalize=True, mLSTM, RWKV. 'S/t' divides by the number of tokens."
        )
    return form


@dataclass(frozen=True)
class StateMatrix:
    """States as the rows of a (sequences * time, width) matrix; rows that do not count are zero.

    Attributes
    ----------
    states : States
        Formed or not.
    mask : Tensor
        (sequences, time), which rows count.
    weight : Tensor
        (sequences, time), what each state is multiplied by, zero where it does not count.
    """

    states: States
    mask: Tensor
    weight: Tensor

    @property
    def width(self) -> int:
        """Numbers of one state."""
        return self.states.width

    @cached_property
    def rows(self) -> int:
        """States that count."""
        return int(self.mask.sum())

    def project(self, directions: Tensor) -> Tensor:
        """(n, width) -> (sequences, time, n)."""
        return (self.states.project(directions) * self.weight.unsqueeze(-1)).masked_fill(
            ~self.mask.unsqueeze(-1), 0
        )

    # -- centred ------------------------------------------------------------------------------

    @cached_property
    def mean(self) -> Tensor:
        """(width,), in float64."""
        return self.states.total(self.weight.double()) / max(self.rows, 1)

    def times(self, x: Tensor) -> Tensor:
        """Centred states times (width, n): (sequences * time, n)."""
        offset = self.mean.to(x) @ x
        return ((self.project(x.T) - offset) * self.mask.unsqueeze(-1)).flatten(0, 1)

    def transposed(self, y: Tensor) -> Tensor:
        """Its adjoint: (sequences * time, n) -> (width, n)."""
        w = y.reshape(*self.mask.shape, -1) * self.mask.unsqueeze(-1)
        out = self.states.adjoint(w * self.weight.unsqueeze(-1))
        return (out - w.sum((0, 1))[:, None] * self.mean.to(w)).T

    @cached_property
    def scatter(self) -> float:
        """Sum of squared distances of all states from their mean; 0 if rounding explains it."""
        squares, of_mean = self.states.squares(), self.rows * float(self.mean.square().sum())
        if squares is not None:
            total = (squares * self.weight.double().square() * self.mask).sum()
            found = float(total) - of_mean
        else:
            found = sum(float(block.square().sum()) for _, block in self.centred_blocks())
        rounding = max(
            (ROUNDINGS * torch.finfo(self.weight.dtype).eps) ** 2,
            ROUNDINGS_OF_SQUARES * torch.finfo(torch.float64).eps,
        )
        return 0.0 if found <= rounding * (found + of_mean) else found

    def check_finite(self) -> None:
        """Raise NonFiniteStatesError if a state that counts, or its square, is NaN or Inf."""
        dtype = torch.promote_types(self.weight.dtype, torch.float32)
        if not self.scatter <= torch.finfo(dtype).max:
            raise NonFiniteStatesError(
                "These states hold NaN or Inf, or numbers whose squares are: they have no "
                "variance. The recurrence diverged on its inputs; rec.final shows which sequences."
            )

    def centred_blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Formed states of some tokens, less their mean, zero where they do not count; float64."""
        for begin, block in self.states.blocks():
            at = slice(begin, begin + block.shape[1])
            centred = block.double() * self.weight[:, at, None] - self.mean
            yield begin, centred.masked_fill(~self.mask[:, at, None], 0)
