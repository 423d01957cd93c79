"""Matrix states that each token changes by one outer product: linear attention and its kin.

For every head, a state matrix S (key, value) moves as

    S_t = exp(rate_t * scale) * S_{t-1} + k_t u_t^T

with gates that depend on the input alone. Three kinds cover what is in use (Yang et al. 2024,
arXiv 2406.06484, table 4):

* ``plain``: u is an input. Linear attention, RetNet, lightning attention, Mamba-1 and Mamba-2
  (there `k` is dt * x, `u` is B, `rate` is dt and `scale` is A);
* ``delta``: u_t = beta_t (v_t - (decayed S)^T k_t), the delta rule: gated DeltaNet, KDA;
* ``stabilised``: forget and input gates in log space and a running maximum m, which keeps their
  exponentials finite: mLSTM (arXiv 2405.04517, eq. 26), RWKV-4 (arXiv 2305.13048, appendix D).

A normaliser (z of linear attention, n of mLSTM, the denominator of RWKV) is one more column of S,
fed by ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dynprobe.recurrences.factors import Factors
from dynprobe.recurrences.layout import Layout

PLAIN, DELTA, STABILISED = "plain", "delta", "stabilised"


@dataclass(frozen=True)
class RankOne:
    """The form of a rank-one recurrence: its shapes, and the map itself.

    Attributes
    ----------
    layout : Layout
        Parts of the flat state, in order: the matrices (heads * key * value numbers), the
        normaliser if there is one (heads * key), the running maximum if stabilised (heads).
    heads, key, value : int
        Number and shape of the state matrices, without the normaliser's column.
    k_groups, u_groups : int
        How many different k and u (or v) there are; each serves heads / groups heads in a row.
        ``k_groups=0``: k is 1.
    rates : int
        Numbers of `rate` for each head: 1, or `key`, or 0 where the decay is `scale` alone.
    kind : {"plain", "delta", "stabilised"}
        What u is, see the module's text.
    normaliser : bool
        Whether u carries a column of ones.
    """

    layout: Layout
    heads: int
    key: int
    value: int
    k_groups: int
    u_groups: int
    rates: int = 1
    kind: str = PLAIN
    normaliser: bool = False

    @property
    def columns(self) -> int:
        """Columns of a state matrix, normaliser included."""
        return self.value + self.normaliser

    @property
    def inputs(self) -> Layout:
        """Parts of one token's input."""
        parts: list[tuple[str, tuple[int, ...]]] = [
            ("k", (self.k_groups, self.key)),
            ("u" if self.kind == PLAIN else "v", (self.u_groups, self.value)),
            ("rate", (self.heads, self.rates)),
        ]
        if self.kind == DELTA:
            parts.append(("beta", (self.heads,)))
        if self.kind == STABILISED:
            parts.append(("gate", (self.heads,)))
        return Layout(tuple(p for p in parts if 0 not in p[1]))

    # -- the state, flat and as matrices -----------------------------------------------------

    def matrix(self, state: Tensor) -> Tensor:
        """(..., state_dim) -> (..., heads, key, columns); a view where there is no normaliser."""
        n = self.heads * self.key
        shape = (self.heads, self.key, self.value)
        matrix: Tensor = state[..., : n * self.value].unflatten(-1, shape)
        if not self.normaliser:
            return matrix
        column = state[..., n * self.value : n * self.columns].unflatten(-1, (self.heads, self.key))
        return torch.cat([matrix, column.unsqueeze(-1)], dim=-1)

    def flat(self, matrix: Tensor, maximum: Tensor | None = None) -> Tensor:
        """Inverse of :meth:`matrix`, with the running maximum (..., heads) behind it."""
        parts = [matrix[..., : self.value].flatten(-3)]
        if self.normaliser:
            parts.append(matrix[..., self.value].flatten(-2))
        if maximum is not None:
            parts.append(maximum)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def maximum(self, state: Tensor) -> Tensor:
        """(..., heads), the running maximum of a stabilised state."""
        return state[..., -self.heads :]

    # -- the map -----------------------------------------------------------------------------

    def log_decay(self, x: dict[str, Tensor], scale: Tensor) -> Tensor:
        """(..., heads, key or 1, value or 1)."""
        if "rate" not in x:
            return scale
        return x["rate"].unsqueeze(-1) * scale

    def spread(self, x: dict[str, Tensor], name: str) -> Tensor:
        """One of the vectors for every head, (..., heads, width)."""
        vectors = x[name]
        return vectors.repeat_interleave(self.heads // vectors.shape[-2], dim=-2)

    def key_of(self, x: dict[str, Tensor]) -> Tensor:
        """k for every head, (..., heads, key)."""
        if "k" in x:
            return self.spread(x, "k")
        v = x["u" if self.kind == PLAIN else "v"]
        return v.new_ones(*v.shape[:-2], self.heads, self.key)

    def value_of(self, x: dict[str, Tensor]) -> Tensor:
        """u or v for every head, with its column of ones, (..., heads, columns)."""
        u = self.spread(x, "u" if self.kind == PLAIN else "v")
        return torch.cat([u, torch.ones_like(u[..., :1])], dim=-1) if self.normaliser else u

    def step(self, state: Tensor, x: Tensor, scale: Tensor) -> Tensor:
        """F(state, x): state (batch, state_dim), x (batch, input_dim) -> (batch, state_dim)."""
        parts, matrix = self.inputs.split(x), self.matrix(state)
        k, u = self.key_of(parts), self.value_of(parts)
        if self.kind == STABILISED:
            before = self.maximum(state)
            forget = before + self.log_decay(parts, scale)[..., 0, 0]
            after = torch.maximum(forget, parts["gate"])
            keep = (forget - after).exp()[..., None, None]
            added = (parts["gate"] - after).exp()[..., None, None] * k[..., None] * u[..., None, :]
            return self.flat(keep * matrix + added, after)
        matrix = self.log_decay(parts, scale).exp() * matrix
        if self.kind == DELTA:
            u = parts["beta"][..., None] * (u - (matrix * k[..., None]).sum(-2))
        return self.flat(matrix + k[..., None] * u[..., None, :])

    # -- whole trajectories ------------------------------------------------------------------

    def factors(self, inputs: Tensor, initial: Tensor, scale: Tensor) -> Factors:
        """The states after every token of known inputs, as factors.

        Parameters
        ----------
        inputs : Tensor
            (sequences, time, input_dim).
        initial : Tensor
            (sequences, state_dim), the state before the first token.
        scale : Tensor
            (heads, key or 1, value or 1), or one such for each sequence.

        Returns
        -------
        Factors
            For ``delta`` this runs the recurrence once, step by step, to learn u; one state is
            held at a time.
        """
        parts = self.inputs.split(inputs)
        if scale.dim() == 4:  # one for each sequence: broadcast over time
            scale = scale.unsqueeze(1)
        start = self.matrix(initial)
        k = parts.get("k")
        if k is None:
            k = inputs.new_ones(1, 1, 1, self.key).expand(*inputs.shape[:2], 1, self.key)
        rate = parts.get("rate")
        if self.kind == STABILISED:
            return self._stabilised(parts, k, initial, scale, start)
        u = parts["u"] if self.kind == PLAIN else self._deltas(parts, start, scale)
        if self.kind == PLAIN and self.normaliser:
            u = torch.cat([u, torch.ones_like(u[..., :1])], dim=-1)
        return Factors(self, k, u, rate, scale, start)

    def _deltas(self, parts: dict[str, Tensor], start: Tensor, scale: Tensor) -> Tensor:
        """u of the delta rule at every token, (sequences, time, heads, value)."""
        out = []
        matrix = start
        k, v = self.spread(parts, "k"), self.spread(parts, "v")
        decay = self.log_decay(parts, scale).exp()
        if decay.dim() == 3:  # the same at every token, of every sequence
            decay = decay[None, None]
        decay = decay.expand(decay.shape[0], k.shape[1], *decay.shape[2:])
        for t in range(k.shape[1]):
            matrix = decay[:, t] * matrix
            key = k[:, t].unsqueeze(-1)
            u = parts["beta"][:, t].unsqueeze(-1) * (v[:, t] - (matrix * key).sum(-2))
            matrix = torch.addcmul(matrix, key, u.unsqueeze(-2))
            out.append(u)
        return torch.stack(out, dim=1) if out else v

    def _stabilised(
        self, parts: dict[str, Tensor], k: Tensor, initial: Tensor, scale: Tensor, start: Tensor
    ) -> Factors:
        """Gates relative to the running maximum, so that they are ordinary decays and factors."""
        gate = parts["gate"]
        log_forget = self.log_decay(parts, scale)[..., 0, 0].expand_as(gate)
        m, maxima, keep = self.maximum(initial), [], []
        for forget, i in zip(log_forget.unbind(1), gate.unbind(1), strict=True):
            after = torch.maximum(forget + m, i)
            keep.append(forget + m - after)
            maxima.append(after)
            m = after
        if not maxima:
            nothing = (gate[..., None], scale, start, gate, m)
            return Factors(self, k, self.value_of(parts), *nothing)
        maximum, rate = torch.stack(maxima, dim=1), torch.stack(keep, dim=1).unsqueeze(-1)
        u = self.value_of(parts) * (gate - maximum).exp().unsqueeze(-1)
        one = torch.ones(1, 1, 1, dtype=u.dtype, device=u.device)
        return Factors(self, k, u, rate, one, start, maximum, self.maximum(initial))

    # -- on file -----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, for a file's header."""
        out = asdict(self)
        out["layout"] = [[name, list(shape)] for name, shape in self.layout.parts]
        return out

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RankOne:
        """Inverse of :meth:`to_dict`."""
        parts = tuple((str(n), tuple(int(i) for i in s)) for n, s in values["layout"])
        return cls(**{**values, "layout": Layout(parts)})
