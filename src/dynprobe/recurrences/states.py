"""States after every token, in memory or known by their factors: products with all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from dynprobe.recurrences.factors import Factors
from dynprobe.recurrences.rows import adjoint_rows, normaliser, project_rows, row_squares

#: Numbers that a block of states in memory may hold.
BLOCK = 1 << 20


class States(Protocol):
    """States after every token, (sequences, time, width), valid or not."""

    @property
    def width(self) -> int:
        """Numbers of one state."""

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Formed states of some tokens of all sequences, with the first token's number."""

    def project(self, directions: Tensor) -> Tensor:
        """Inner products with (n, width): (sequences, time, n)."""

    def adjoint(self, weights: Tensor) -> Tensor:
        """Sums of states weighted by (sequences, time, n): (n, width)."""

    def total(self, weights: Tensor) -> Tensor:
        """(width,), the sum weighted by (sequences, time) in float64, in float64."""

    def squares(self) -> Tensor | None:
        """(sequences, time), squared lengths in float64; None where it takes forming the states."""


@dataclass(frozen=True)
class Formed:
    """States in memory, (sequences, time, width)."""

    states: Tensor

    @property
    def width(self) -> int:
        return self.states.shape[-1]

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        size = max(1, BLOCK // max(1, len(self.states) * self.width))
        for begin in range(0, self.states.shape[1], size):
            yield begin, self.states[:, begin : begin + size]

    def project(self, directions: Tensor) -> Tensor:
        return self.states @ directions.to(self.states).T

    def adjoint(self, weights: Tensor) -> Tensor:
        return torch.einsum("btd,btn->nd", self.states, weights.to(self.states))

    def total(self, weights: Tensor) -> Tensor:
        out = weights.new_zeros(self.width)
        for begin, block in self.blocks():
            some = weights[:, begin : begin + block.shape[1]]
            out += torch.einsum("btd,bt->d", block.double(), some)
        return out

    def squares(self) -> None:
        return None


@dataclass(frozen=True)
class Factored:
    """States known by their factors."""

    factors: Factors

    @property
    def width(self) -> int:
        form = self.factors.form
        return form.heads * form.key * form.columns + self._maxima

    @property
    def _maxima(self) -> int:
        return 0 if self.factors.maximum is None else self.factors.form.heads

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        maximum = self.factors.maximum
        for begin, block in self.factors.blocks():
            at = slice(begin, begin + block.shape[1])
            yield begin, self.factors.form.flat(block, None if maximum is None else maximum[:, at])

    def project(self, directions: Tensor) -> Tensor:
        return self.factors.project_flat(directions.to(self.factors.start))

    def adjoint(self, weights: Tensor) -> Tensor:
        f = self.factors
        w = weights.to(f.start)
        extra = None if f.maximum is None else torch.einsum("bth,btn->nh", f.maximum, w)
        return f.form.flat(f.adjoint(w), extra)

    def total(self, weights: Tensor) -> Tensor:
        return replace(self, factors=self.factors.to(torch.float64)).adjoint(weights[..., None])[0]

    def squares(self) -> Tensor | None:
        if not self.factors.row_decay:
            return None
        f = self.factors.to(torch.float64)
        found = row_squares(f, f.form.columns).sum((-1, -2))
        return found if f.maximum is None else found + f.maximum.square().sum(-1)


@dataclass(frozen=True)
class Normalised:
    """Matrices known by their factors, each row divided by its normaliser; 0 / 0 is 0."""

    factors: Factors

    @property
    def width(self) -> int:
        return self.factors.form.heads * self.factors.form.key * self.factors.form.value

    @cached_property
    def _per_row(self) -> Tensor:
        return inverse_or_zero(normaliser(self.factors))

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        for begin, block in self.factors.blocks():
            yield begin, per_normaliser(block).flatten(2)

    def project(self, directions: Tensor) -> Tensor:
        form = self.factors.form
        matrices = directions.to(self.factors.start).unflatten(-1, (form.heads, form.key, -1))
        return project_rows(self.factors, matrices, self._per_row)

    def adjoint(self, weights: Tensor) -> Tensor:
        return adjoint_rows(self.factors, weights.to(self._per_row), self._per_row).flatten(1)

    def total(self, weights: Tensor) -> Tensor:
        return replace(self, factors=self.factors.to(torch.float64)).adjoint(weights[..., None])[0]

    def squares(self) -> Tensor:
        exact = self.factors.to(torch.float64)
        per_row = inverse_or_zero(normaliser(exact)).square()
        return (row_squares(exact, exact.form.value) * per_row).sum((-1, -2))


def inverse_or_zero(z: Tensor) -> Tensor:
    """1 / z, and 0 where z is 0."""
    return torch.where(z == 0, torch.zeros_like(z), z.reciprocal())


def per_normaliser(matrix: Tensor) -> Tensor:
    """(..., key, columns) -> (..., key, value), rows divided by their last number."""
    return matrix[..., :-1] * inverse_or_zero(matrix[..., -1:])
