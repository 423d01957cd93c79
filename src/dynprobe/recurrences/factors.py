"""Trajectories of matrix states that are never formed as a whole.

The states of a rank-one recurrence are known from its factors (k, u, decay), which take a few per
cent of their memory. What one wants of the states mostly follows from the factors: some of them,
projections, inner products, principal components.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dynprobe.recurrences.precision import full_precision
from dynprobe.recurrences.scan import linear_scan

if TYPE_CHECKING:
    from dynprobe.recurrences.rank_one import RankOne

#: Numbers that one block of formed states may hold: small enough for a processor's cache to help.
BLOCK = 1 << 18


@dataclass(frozen=True)
class Factors:
    """States S_t = exp(rate_t * scale) * S_{t-1} + k_t u_t^T after every token.

    Attributes
    ----------
    form : RankOne
        Shapes, and how matrices lie in the flat state.
    k : Tensor
        (sequences, time, groups, key); a group serves heads / groups heads in a row.
    u : Tensor
        (sequences, time, groups, columns).
    rate : Tensor or None
        (sequences, time, heads, 1 or key); None where the decay is `scale` alone.
    scale : Tensor
        (heads, key or 1, columns or 1), possibly (sequences, 1, ...) in front.
    start : Tensor
        (sequences, heads, key, columns), the state before the first token.
    maximum : Tensor or None
        (sequences, time, heads), the running maximum of a stabilised recurrence.
    first : Tensor or None
        (sequences, heads), the same before the first token.
    """

    form: RankOne
    k: Tensor
    u: Tensor
    rate: Tensor | None
    scale: Tensor
    start: Tensor
    maximum: Tensor | None = None
    first: Tensor | None = None

    @property
    def time(self) -> int:
        """Number of tokens."""
        return self.k.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the factors."""
        held = [self.k, self.u, self.rate, self.scale, self.start, self.maximum]
        return sum(t.numel() * t.element_size() for t in held if t is not None)

    @property
    def scalar_decay(self) -> bool:
        """Whether a head's whole matrix decays alike: then sums over states have closed forms."""
        rate = 1 if self.rate is None else self.rate.shape[-1]
        return rate == 1 and self.scale.shape[-2:] == (1, 1)

    @property
    def row_decay(self) -> bool:
        """Whether the numbers of a row decay alike: then rows have closed forms of their own."""
        return self.scale.shape[-1] == 1

    def to(self, dtype: torch.dtype) -> Factors:
        """The same in another precision."""
        held: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in held.items():
            if isinstance(value, Tensor):
                held[name] = value.to(dtype)
        return Factors(**held)

    def log_decay(self, at: slice = slice(None)) -> Tensor:
        """(sequences, time, heads, key or 1, columns or 1) of some of the tokens."""
        if self.rate is not None:
            return self.rate[:, at].unsqueeze(-1) * self.scale
        time = len(range(*at.indices(self.time)))
        scale = self.scale if self.scale.dim() == 5 else self.scale[None, None]
        return scale.expand(scale.shape[0], time, self.form.heads, *scale.shape[-2:])

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Matrices (sequences, some time, heads, key, columns), block after block, with its start.

        Only one block is in memory at a time.
        """
        width = max(1, self.start.numel())
        size = max(1, BLOCK // width)
        start = self.start
        for begin in range(0, self.time, size):
            at = slice(begin, begin + size)
            k, u = self.spread(self.k[:, at]), self.spread(self.u[:, at])
            added = k.unsqueeze(-1) * u.unsqueeze(-2)
            decay = self.log_decay(at)
            # in place where it is a tensor of its own, and not the expanded scale
            decay = decay.exp() if self.rate is None else decay.exp_()
            block = linear_scan(decay, added, start)
            start = block[:, -1].clone()
            yield begin, block

    def spread(self, vectors: Tensor) -> Tensor:
        """One vector for every head; a view where they all share it."""
        groups, heads = vectors.shape[-2], self.form.heads
        if groups in (1, heads):
            return vectors.expand(*vectors.shape[:-2], heads, vectors.shape[-1])
        return vectors.repeat_interleave(heads // groups, dim=-2)

    def states(self, every: int = 1) -> Tensor:
        """Flat states after tokens every, 2 every, ...: (sequences, time // every, state_dim)."""
        sequences = self.k.shape[0]
        width = self.form.layout.size
        out = self.start.new_empty(sequences, self.time // every, width)
        for begin, block in self.blocks():
            first = -(begin + 1) % every  # the first kept token of the block
            kept = block[:, first::every]
            at = (begin + first) // every
            maximum = None
            if self.maximum is not None:
                maximum = self.maximum[:, begin + first : begin + block.shape[1] : every]
            out[:, at : at + kept.shape[1]] = self.form.flat(kept, maximum)
        return out

    def at(self, steps: Tensor) -> Tensor:
        """Flat states after the given tokens: steps (sequences, n) -> (sequences, n, width).

        A step of -1 is the state before the first token.
        """
        rows = torch.arange(self.k.shape[0], device=self.k.device)[:, None]
        steps = steps.to(self.k.device)
        matrix = self.start[:, None].expand(-1, steps.shape[1], -1, -1, -1).clone()
        for begin, block in self.blocks():
            inside = (steps >= begin) & (steps < begin + block.shape[1])
            picked = block[rows, (steps - begin).clamp(0, block.shape[1] - 1)]
            matrix = torch.where(inside[..., None, None, None], picked, matrix)
        maximum = None
        if self.maximum is not None and self.first is not None:
            after = self.maximum[rows, steps.clamp(min=0)]
            maximum = torch.where(steps[..., None] < 0, self.first[:, None], after)
        return self.form.flat(matrix, maximum)

    @full_precision
    def project(self, directions: Tensor) -> Tensor:
        """Inner products of every state matrix with some matrices.

        Parameters
        ----------
        directions : Tensor
            (n, heads, key, columns).

        Returns
        -------
        Tensor
            (sequences, time, n). With one decay for a head's whole matrix, a leaky cumulative sum
            of k_t^T X u_t, which never forms a state; otherwise block by block.
        """
        directions = directions.to(self.start)
        if not self.scalar_decay:
            flat = directions.flatten(1).T
            out = [block.flatten(2) @ flat for _, block in self.blocks()]
            empty = self.start.new_empty(self.k.shape[0], 0, len(directions))
            return torch.cat(out, dim=1) if out else empty
        n, heads, key, columns = directions.shape
        stacked = directions.permute(1, 2, 0, 3).reshape(heads, key, n * columns)
        added = []
        for k, u, _ in self._pieces(n * columns):
            products = (k @ stacked).unflatten(-1, (n, columns))
            added.append((products * u.unsqueeze(-2)).sum(-1))
        start = torch.einsum("bhkv,nhkv->bhn", self.start, directions)
        if not added:
            return start.new_empty(len(start), 0, n)
        by_time = torch.cat(added, dim=2).transpose(1, 2)
        return linear_scan(self.log_decay()[..., 0].exp(), by_time, start).sum(-2)

    def _pieces(self, width: int) -> Iterator[tuple[Tensor, Tensor, slice]]:
        """k and u (sequences, heads, some time, ...), as many as a processor's cache likes.

        `width` numbers for each token, head and sequence is what is made of them.
        """
        size = max(1, BLOCK // max(1, width * self.k.shape[0] * self.form.heads))
        for begin in range(0, self.time, size):
            at = slice(begin, begin + size)
            k, u = self.spread(self.k[:, at]), self.spread(self.u[:, at])
            yield k.transpose(1, 2), u.transpose(1, 2), at

    def project_flat(self, directions: Tensor) -> Tensor:
        """The same for flat directions (n, state_dim), the running maximum included."""
        out = self.project(self.form.matrix(directions))
        if self.maximum is not None:
            out = out + self.maximum @ self.form.maximum(directions).to(out).T
        return out

    @full_precision
    def adjoint(self, weights: Tensor) -> Tensor:
        """Weighted sums of states: weights (sequences, time, n) -> (n, heads, key, columns).

        The adjoint of :meth:`project`: with one decay a head, K^T diag(reverse leaky sum) U.
        """
        if not self.scalar_decay:
            total = self.start.new_zeros(weights.shape[-1], *self.start.shape[1:])
            for begin, block in self.blocks():
                w = weights[:, begin : begin + block.shape[1]]
                total += torch.einsum("btn,bthkv->nhkv", w, block)
            return total
        decay = self.log_decay()[..., 0].exp()
        later = torch.cat([decay[:, 1:], torch.ones_like(decay[:, :1])], dim=1).flip(1)
        w = weights.unsqueeze(-2).expand(-1, -1, self.form.heads, -1)
        reverse = linear_scan(later, w.flip(1), torch.zeros_like(w[:, 0])).flip(1)
        heads, key, columns = self.start.shape[1:]
        n = weights.shape[-1]
        total = self.start.new_zeros(heads, key, n * columns)
        for k, u, at in self._pieces(n * columns):
            weighted = reverse[:, at].transpose(1, 2).unsqueeze(-1) * u.unsqueeze(-2)
            # sequences and time are summed over together
            left, right = k.transpose(0, 1).flatten(1, 2), weighted.transpose(0, 1).flatten(1, 2)
            total = torch.baddbmm(total, left.mT, right.flatten(2))
        first = decay[:, 0] * reverse[:, 0]
        start = torch.einsum("bhn,bhkv->nhkv", first, self.start)
        out: Tensor = total.unflatten(-1, (n, columns)).permute(2, 0, 1, 3)
        return out + start
