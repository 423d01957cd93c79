"""The recurrent cache: what a linear transformer remembers, of the same size at every length."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from transformers.cache_utils import Cache

from dynprobe.nn.linear_attention.reference import State


class LayerState:
    """S (batch, heads, features, head_dim) and z (batch, heads, features) of one layer.

    They lie in `recurrent_states` under 0 and 1, as in caches of other recurrent models. A new
    state replaces the old one; nothing is overwritten in place.
    """

    is_compileable = False
    is_croppable = False
    is_sliding = False
    supports_early_init = False

    def __init__(self) -> None:
        self.recurrent_states: dict[int, Tensor] = {}

    @property
    def state(self) -> State | None:
        """(S, z), or None before the first token."""
        return (
            (self.recurrent_states[0], self.recurrent_states[1]) if self.recurrent_states else None
        )

    @state.setter
    def state(self, state: State) -> None:
        self.recurrent_states = dict(enumerate(state))

    def map(self, f: Callable[[Tensor], Tensor]) -> None:
        """Apply `f` to S and z."""
        self.recurrent_states = {i: f(x) for i, x in self.recurrent_states.items()}

    def get_max_length(self) -> int:
        """No maximum."""
        return -1


class LinearTransformerCache(Cache):
    """States of all layers, and how many tokens each sequence has.

    Attributes
    ----------
    layers : list of LayerState
    seen : Tensor or None
        (batch,) tokens that counted: the position of each sequence's next token. Padding on
        either side is not among them.
    """

    layers: list[LayerState]

    def __init__(self, num_layers: int) -> None:
        super().__init__(layers=[LayerState() for _ in range(num_layers)])
        self.seen: Tensor | None = None
        self._steps = 0

    def advance(self, counts: Tensor, steps: int) -> None:
        """Note that `steps` more tokens came in, of which `counts` (batch,) counted."""
        self.seen = counts if self.seen is None else self.seen + counts
        self._steps += steps

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens that came in, padding included."""
        return self._steps

    def reset(self) -> None:
        """Back to the start."""
        for layer in self.layers:
            layer.recurrent_states = {}
        self.seen, self._steps = None, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Sequence i goes on from what was sequence beam_idx[i]."""
        self._map(lambda x: x.index_select(0, beam_idx.to(x.device)))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some sequences."""
        self._map(lambda x: x[indices.to(x.device)])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence."""
        self._map(lambda x: x.repeat_interleave(repeats, dim=0))

    def crop(self, tokens_to_remove: int) -> None:
        """Raise: a state does not say what it was before."""
        raise NotImplementedError(
            "The state of linear attention is a sum over all tokens; none can be taken out again. "
            "Keep copy.deepcopy(cache) from where you want to go back to."
        )

    def _map(self, f: Callable[[Tensor], Tensor]) -> None:
        for layer in self.layers:
            layer.map(f)
        if self.seen is not None:
            self.seen = f(self.seen)
