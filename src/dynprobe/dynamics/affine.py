"""Maps s' = A s + b whose fixed point and spectrum are closed forms.

A gated linear recurrence is one of these for each frozen input. Nothing of size n x n is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class AffineMap(Protocol):
    """A batch of maps s' = A s + b on flat states (batch, n)."""

    def apply(self, state: Tensor) -> Tensor:
        """A s + b, (batch, n)."""

    def matrix(self) -> Tensor:
        """A itself, (batch, n, n)."""

    def eigenvalues(self) -> Tensor:
        """All n eigenvalues of A, (batch, n), real."""

    def fixed_point(self) -> Tensor:
        """(batch, n): s with A s + b = s; NaN where an eigenvalue is 1 and there is none, or many.

        A marginal direction (eigenvalue 1) keeps or accumulates for ever: no number is its fixed
        point.
        """


@dataclass(frozen=True)
class DiagonalMap:
    """Every number decays by itself: s' = decay * s + added.

    Attributes
    ----------
    decay, added : Tensor
        (batch, n).
    """

    decay: Tensor
    added: Tensor

    def apply(self, state: Tensor) -> Tensor:
        return self.decay * state + self.added

    def matrix(self) -> Tensor:
        return torch.diag_embed(self.decay)

    def eigenvalues(self) -> Tensor:
        return self.decay

    def fixed_point(self) -> Tensor:
        fixed: Tensor = self.added / (1 - self.decay)
        return fixed.masked_fill(self.decay == 1, torch.nan)


@dataclass(frozen=True)
class DeltaMap:
    """The gated delta rule: S' = (I - beta k k^T) diag(decay) S + beta k v^T, head by head.

    Attributes
    ----------
    decay : Tensor
        (batch, heads, key).
    k : Tensor
        (batch, heads, key).
    beta : Tensor
        (batch, heads).
    v : Tensor
        (batch, heads, value).
    """

    decay: Tensor
    k: Tensor
    beta: Tensor
    v: Tensor

    @property
    def block(self) -> Tensor:
        """(I - beta k k^T) diag(decay), (batch, heads, key, key): acts on every column of S."""
        eye = torch.eye(self.k.shape[-1], dtype=self.k.dtype, device=self.k.device)
        erase = self.beta[..., None, None] * self.k[..., :, None] * self.k[..., None, :]
        block: Tensor = (eye - erase) * self.decay[..., None, :]
        return block

    def _matrix(self, state: Tensor) -> Tensor:
        matrix: Tensor = state.unflatten(-1, (*self.k.shape[-2:], self.v.shape[-1]))
        return matrix

    @property
    def _added(self) -> Tensor:
        return (self.beta[..., None] * self.k)[..., None] * self.v[..., None, :]

    def apply(self, state: Tensor) -> Tensor:
        return (self.block @ self._matrix(state) + self._added).flatten(-3)

    def matrix(self) -> Tensor:
        heads, key = self.k.shape[-2:]
        value = self.v.shape[-1]
        eye_h = torch.eye(heads, dtype=self.k.dtype, device=self.k.device)
        eye_v = torch.eye(value, dtype=self.k.dtype, device=self.k.device)
        full = torch.einsum("...hij,hg,vw->...hivgjw", self.block, eye_h, eye_v)
        n = heads * key * value
        matrix: Tensor = full.reshape(*self.k.shape[:-2], n, n)
        return matrix

    def eigenvalues(self) -> Tensor:
        """With one decay a for all of a head: a (key - 1 times) and a (1 - beta |k|^2).

        Otherwise those of the symmetric matrix sqrt(D) (I - beta k k^T) sqrt(D), which is similar.
        """
        root = self.decay.sqrt()
        eye = torch.eye(self.k.shape[-1], dtype=self.k.dtype, device=self.k.device)
        k = root * self.k
        symmetric = root[..., :, None] * eye * root[..., None, :] - self.beta[..., None, None] * (
            k[..., :, None] * k[..., None, :]
        )
        values: Tensor = torch.linalg.eigvalsh(symmetric)
        return values.repeat_interleave(self.v.shape[-1], dim=-1).flatten(-2)

    def fixed_point(self) -> Tensor:
        """(I - D + beta k (D k)^T)^-1 beta k v^T by Sherman and Morrison: rank one, as the map."""
        slow = 1 - self.decay
        ratio = self.k / slow
        denominator = 1 + self.beta * (ratio * self.decay * self.k).sum(-1)
        s = (self.beta / denominator)[..., None, None] * ratio[..., None] * self.v[..., None, :]
        marginal = (slow == 0).any(-1) | (denominator == 0)
        fixed: Tensor = s.masked_fill(marginal[..., None, None], torch.nan)
        return fixed.flatten(-3)
