"""What all cells share when several networks run over time at once, forward and backward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

#: Up to so many words a product with one-hot rows sums gradients by word faster than index_add.
_FEW_WORDS = 32


class Unrolled(ABC):
    """Buffers of one pass over ``(models, batch, time)`` words, and the pass itself.

    In every step each model's pre-activations are ``table[word] + W h``: one batched product, and
    elementwise work in place. Everything has the model first, then time, so that the gradient of
    W over all steps and sequences is one product, too. The backward pass overwrites the gates with
    the gradients of their pre-activations, so buffers serve one forward and one backward pass.

    Parameters
    ----------
    models, steps, batch, hidden : int
        Sizes.
    like : Tensor
        Of the dtype and on the device of the buffers.

    Attributes
    ----------
    gates : int
        Blocks of `hidden` rows in the recurrent weight.
    drive : Tensor
        ``(models, steps, batch, gates * hidden)``.
    driven : tuple of Tensor
        The buffers that are filled from the table, side by side in its columns.
    h : Tensor
        States, ``(models, steps + 1, batch, hidden)``, the initial one first.
    """

    gates: ClassVar[int]

    def __init__(self, models: int, steps: int, batch: int, hidden: int, like: Tensor) -> None:
        self.shape = (models, steps, batch, hidden)
        self.drive = like.new_empty(models, steps, batch, self.gates * hidden)
        self.h = like.new_empty(models, steps + 1, batch, hidden)
        self.driven: tuple[Tensor, ...] = (self.drive,)
        # Views of every step are made once: each costs as much as a small kernel.
        self.drives = self.drive.unbind(1)
        self.gate = [block.unbind(1) for block in self.drive.split(hidden, -1)]
        self.hs = self.h.unbind(1)

    @property
    def states(self) -> tuple[Tensor, ...]:
        """Parts of the state over time, each ``(models, steps + 1, batch, hidden)``."""
        return (self.h,)

    @staticmethod
    @abstractmethod
    def table(inputs: Tensor, biases: Sequence[Tensor]) -> Tensor:
        """What a word adds to the pre-activations, with a gradient.

        Parameters
        ----------
        inputs
            Input weights by word, ``(models, words, gates * hidden)``.
        biases
            Each ``(models, gates * hidden)``, in the order of the cell's parameters.

        Returns
        -------
        Tensor
            ``(models, words, columns of all driven buffers)``.
        """

    @abstractmethod
    def step(self, t: int, weight: Tensor) -> None:
        """From the states at index t to those at t + 1; `weight` is W transposed."""

    @abstractmethod
    def step_back(self, t: int, weight: Tensor, grads: list[Tensor]) -> None:
        """From the gradients of the states at t + 1 to those at t, in place of `grads`."""

    def forward(
        self, table: Tensor, ids: Tensor, weight: Tensor, initial: Sequence[Tensor]
    ) -> None:
        """Fill the states.

        Parameters
        ----------
        table
            See :meth:`table`.
        ids
            Row of the table with the models' rows below one another, ``(models, steps, batch)``.
        weight
            ``(models, gates * hidden, hidden)``.
        initial
            Parts of the initial state, each ``(models, 1, hidden)``.
        """
        widths = [buffer.shape[-1] for buffer in self.driven]
        for buffer, part in zip(self.driven, table.split(widths, -1), strict=True):
            torch.index_select(part.flatten(0, 1), 0, ids.flatten(), out=buffer.flatten(0, 2))
        for states, start in zip(self.states, initial, strict=True):
            states[:, 0] = start
        transposed = weight.transpose(1, 2)
        for t in range(self.shape[1]):
            self.step(t, transposed)

    def final(self, last: Tensor | None) -> tuple[Tensor, ...]:
        """Copies of the states after step `last`, ``(models, batch)``, or after the last of all."""
        if last is None:
            return tuple(states[:, -1].clone() for states in self.states)
        models, _, batch, _ = self.shape
        model = torch.arange(models, device=last.device)[:, None]
        sequence = torch.arange(batch, device=last.device)
        return tuple(states[model, last + 1, sequence] for states in self.states)

    def backward(
        self, ids: Tensor, words: int, last: Tensor | None, weight: Tensor, given: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Gradients of table, weight and initial states; the buffers are used up.

        Parameters
        ----------
        ids, last, weight
            As in the forward pass.
        words
            Rows of the table of one model.
        given
            Gradients of what :meth:`final` returned.
        """
        steps = self.shape[1]
        if last is None:
            grads = [g.contiguous().clone() for g in given]
            ends = None
        else:
            grads = [torch.zeros_like(g, memory_format=torch.contiguous_format) for g in given]
            times = torch.arange(steps, device=last.device)[:, None, None]
            ends = (times == last)[..., None].to(given[0].dtype)
        for t in reversed(range(steps)):
            if ends is not None:
                # A sequence's gradient enters at its own end: later states get none.
                for g, end in zip(grads, given, strict=True):
                    g.addcmul_(ends[t], end)
            self.step_back(t, weight, grads)
        by_table = torch.cat([self._by_word(ids, words, buffer) for buffer in self.driven], -1)
        return by_table, self.by_weight(), [g.sum(1, keepdim=True) for g in grads]

    def by_weight(self) -> Tensor:
        """Gradient of W over all steps and sequences, once the pass back is done."""
        before = self.h[:, :-1].flatten(1, 2)
        return torch.bmm(self.drive.flatten(1, 2).transpose(1, 2), before)

    def _by_word(self, ids: Tensor, words: int, buffer: Tensor) -> Tensor:
        """Sum `buffer` over the places of each word: ``(models, words, columns)``."""
        models, columns = buffer.shape[0], buffer.shape[-1]
        if words > _FEW_WORDS:
            sums = buffer.new_zeros(models * words, columns)
            return sums.index_add_(0, ids.flatten(), buffer.flatten(0, 2)).view(
                models, words, columns
            )
        own = torch.arange(models * words, device=ids.device).view(models, words, 1)
        hot = (ids.flatten(1)[:, None] == own).to(buffer.dtype)
        return torch.bmm(hot, buffer.flatten(1, 2))
