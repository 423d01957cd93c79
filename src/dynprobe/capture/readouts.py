"""Recognising the linear readout: which nn.Linear is fed by a layer's state, and by what of it.

The test is equality of values, not names or shapes: what the Linear got is compared with what the
layer returned in the same forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.recurrences.observer import Call


@dataclass(frozen=True)
class Feed:
    """How a Linear's input relates to the state of a layer."""

    parts: tuple[str, ...]
    when: str
    reason: str = ""
    #: The Linear saw (time, batch, width); its output is turned round before it is kept.
    time_first: bool = False


def match(x: Tensor, calls: list[Call], parts: tuple[str, ...], directions: int) -> Feed | None:
    """Compare a Linear's input with what a layer returned.

    Parameters
    ----------
    x : Tensor
        (batch, width), (batch, time, width) or (time, batch, width).
    calls : list of Call
        The layer's calls in this forward pass, in order.
    parts : tuple of str
        Names of the parts of the state that the layer returns, visible output first.
    directions : int
        2 for a bidirectional layer.

    Returns
    -------
    Feed or None
        None if the layer does not feed it.
    """
    if not calls:
        return None
    last = calls[-1]
    if x.dim() == 1:
        x = x.unsqueeze(0)
    if x.dim() == 2 and last.batch == 1 and last.time > 1 and _same(x[None], last.outputs):
        return _one_direction(Feed(parts[:1], "all"), directions)  # unbatched, every step
    if x.dim() == 3:
        if _same(x, last.outputs):
            return _one_direction(Feed(parts[:1], "all"), directions)
        if _same(x.transpose(0, 1), last.outputs):
            return _one_direction(Feed(parts[:1], "all", time_first=True), directions)
        return None
    if x.dim() != 2 or x.shape[0] != last.batch:
        return None
    found = _final(x, calls, parts, directions)
    return found if found is not None else _pooled(x, last)


def _final(x: Tensor, calls: list[Call], parts: tuple[str, ...], directions: int) -> Feed | None:
    last = calls[-1]
    # torch.nn returns (layers * directions, batch, width); a cell returns (batch, width)
    tops = [s[-directions:] if s.dim() == 3 else s[None] for s in last.returned]
    if directions == 2:
        joined = torch.cat([tops[0][0], tops[0][1]], dim=-1)
        if _same(x, joined) or _is_row(x, last.outputs):
            return _one_direction(Feed(parts[:1], "final"), directions)
    top = [t[0] for t in tops]
    for order in [(i,) for i in range(len(top))] + ([(0, 1), (1, 0)] if len(top) == 2 else []):
        if _same(x, torch.cat([top[i] for i in order], dim=-1)):
            return Feed(tuple(parts[i] for i in order), "final")
    if any(_is_row(x, call.outputs) for call in reversed(calls)):
        return _one_direction(Feed(parts[:1], "final"), directions)
    if len(calls) > 1 and _is_row(x, torch.cat([c.outputs for c in calls], dim=1)):
        return Feed(parts[:1], "final")
    return None


def _one_direction(feed: Feed, directions: int) -> Feed:
    if directions == 1:
        return feed
    reason = (
        "it reads both directions of a bidirectional layer, so it is not linear in the state of "
        "one of them"
    )
    return Feed((), feed.when, reason)


def _pooled(x: Tensor, call: Call) -> Feed | None:
    if call.time < 2 or x.shape[-1] != call.outputs.shape[-1]:
        return None
    pooled = {"mean": call.outputs.mean(1), "maximum": call.outputs.amax(1)}
    for name, value in pooled.items():
        if torch.allclose(x, value, rtol=1e-4, atol=1e-6):
            return Feed(
                (),
                "final",
                f"it reads the {name} of the states over time, so it is not linear "
                "in the final state",
            )
    return None


def _same(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and bool(torch.equal(x, y))


def _is_row(x: Tensor, outputs: Tensor) -> bool:
    """Whether x[b] is one of outputs[b, t], for every b."""
    if x.shape[-1] != outputs.shape[-1] or outputs.shape[1] == 0 or x.shape[0] == 0:
        return False
    return bool((outputs == x.unsqueeze(1)).all(-1).any(1).all())
