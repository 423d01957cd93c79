"""What the caches of transformers' models get wrong, seen from outside the mixers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from dynprobe.capture.forward import Forward
from dynprobe.capture.hooks import Handles
from dynprobe.recurrences.listening import argument, warn
from dynprobe.recurrences.observer import Call, Observer


class CacheTraps:
    """Warns, once each, where a model goes on from a cache that is not what it seems.

    Parameters
    ----------
    model : nn.Module
        Its rotary embeddings say at which position a forward begins.
    current : callable
        The forward pass that runs in this thread, or None.
    """

    def __init__(self, model: nn.Module, current: Callable[[], Forward | None]) -> None:
        self._name = type(model).__name__
        self._current = current
        self._warned: set[str] = set()
        self._handles = Handles()
        for module in model.modules():
            if type(module).__name__.endswith("RotaryEmbedding"):
                self._handles.before(module, self._on_rotary, "")

    def remove(self) -> None:
        """Take the hooks off."""
        self._handles.remove()

    def look(self, observer: Observer, call: Call, forward: Forward) -> None:
        """Look at one call of a mixer."""
        mask = forward.attention_mask
        if (
            call.returned
            and observer.padding_ends_in_cache
            and mask is not None
            and mask.shape == (call.batch, call.time)
            and not bool(mask[:, -1].all())
        ):
            self._warn(
                "The batch is padded on the right: the final states in the model's own cache are "
                "those after the padding, and what is decoded from them is off. The recorded "
                "states end with each text, as the attention mask says. Pad on the left to go on "
                "from them."
            )
        if forward.position == 0 and any(bool(s.any()) for s in call.passed):
            self._warn(
                f"{self._name} goes on from a cache, but its positions begin again at 0: its "
                "attention layers, and every state above them, are off. Pass position_ids that "
                "count on (generate() does)."
            )

    def _on_rotary(
        self, _: str, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        positions, forward = argument(module, args, kwargs, "position_ids"), self._current()
        if forward is not None and isinstance(positions, Tensor) and positions.numel():
            forward.position = int(positions.min())

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            warn(message)
