"""Memories as points: as they are, and, where there is a normaliser, divided by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.recurrences.rank_one import RankOne
from dynprobe.recurrences.state_matrix import PER_NORMALISER, STATE
from dynprobe.recurrences.states import per_normaliser
from dynprobe.study.survey.readers import Read


@dataclass(frozen=True)
class View:
    """One way to see the memory of one layer.

    Attributes
    ----------
    prefix : str
        Of its measures: "", "S/z: ", "layer 1: ", ...
    layer : int
        Which recurrence, the lowest first.
    of : str
        "S" or "S/z".
    form : RankOne or None
        How matrices lie in the state.
    """

    prefix: str
    layer: int
    of: str
    form: RankOne | None

    def values(self, state: Tensor) -> Tensor:
        """(points, state_dim) -> (points, dim)."""
        if self.of == STATE:
            return state
        assert self.form is not None
        return per_normaliser(self.form.matrix(state)).flatten(1)

    def reading(self, read: Read, states: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
        """The logits as a function of the values of this layer, all else as in `states`.

        Parameters
        ----------
        read : callable
            Of the states of all layers.
        states : sequence of Tensor
            (points, state_dim) of each layer. The normaliser is held, too.
        """

        def of_values(values: Tensor) -> Tensor:
            return read([*states[: self.layer], self._state(values, states), *states[after:]])

        after = self.layer + 1
        return of_values

    def _state(self, values: Tensor, states: Sequence[Tensor]) -> Tensor:
        if self.of == STATE:
            return values
        assert self.form is not None
        z = self.form.matrix(states[self.layer])[..., -1:]
        mean = values.unflatten(1, (self.form.heads, self.form.key, self.form.value))
        return self.form.flat(torch.cat([mean * z, z], dim=-1))


def views(forms: Sequence[RankOne | None]) -> Iterator[View]:
    """All views of a model's memories: of the last layer, then of those below.

    Parameters
    ----------
    forms
        Of each layer, the lowest first; None where the state is no matrix.
    """
    for layer in reversed(range(len(forms))):
        below = "" if layer == len(forms) - 1 else f"layer {layer + 1}: "
        form = forms[layer]
        yield View(below, layer, STATE, form)
        if form is not None and form.normaliser:
            yield View(f"{below}S/z: ", layer, PER_NORMALISER, form)


def forgetting(form: RankOne, inputs: Tensor, states: Tensor) -> float:
    """Time constant of a normalised memory at given steps, median over features.

    Feature d of S/z keeps the share 1 - k_d / z_d of what it was; tau = -1 / ln of that. In a sum
    that does not decay it is about the number of tokens so far.

    Parameters
    ----------
    inputs, states : Tensor
        (points, input_dim) and (points, state_dim), after the input.
    """
    k = form.key_of(form.inputs.split(inputs)).double()
    z = form.matrix(states)[..., -1].double()
    kept = 1 - k / z
    tau = -1 / kept.clamp(1e-12, 1 - 1e-12).log()
    return float(tau[z > 0].median())
