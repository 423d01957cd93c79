"""Which readout is meant: found by what fed it, or given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dynprobe.capture.forward import LinearCall
from dynprobe.capture.layer import Layer
from dynprobe.errors import ReadoutError
from dynprobe.readout import Readout
from dynprobe.recurrences.layout import Layout

# A module by name, or weight and bias
GivenReadout: TypeAlias = tuple[str, nn.Module] | tuple[Tensor, Tensor | None]


def resolve_readout(
    layer: Layer,
    suffix: str,
    given: GivenReadout | None,
    linears: dict[str, nn.Linear],
    others: Iterable[nn.Linear] = (),
) -> Readout:
    """The linear readout of one recurrence.

    A Linear fed by the state is the readout if the model returned its output. If the model
    returned something else (a loss, say), the only one fed by the state is taken, unless another
    Linear of the model (`others`) could be the next layer of an MLP.

    Raises
    ------
    ReadoutError
        If there is none, if there are several, or if the one given does not fit; the message is
        what a skipped analysis shows.
    """
    layout = layer.recurrences.get(suffix, layer.top).layout  # the top may not be chosen
    if given is not None and isinstance(given[0], Tensor):
        weight, bias = given[0], given[1]
        assert bias is None or isinstance(bias, Tensor)
        columns = _columns(weight, None, layout, "given", layer.name)
        return Readout(columns, bias, "given")
    if suffix and suffix != layer.observer.top(layer.module):
        raise ReadoutError(
            f"no linear readout of {layer.name}.{suffix}: readouts are looked for at the top "
            f"layer, forward direction ({layer.name}.{layer.observer.top(layer.module)})"
        )
    calls = list(_calls(layer))
    if given is not None:
        name = str(given[0])
        module = given[1]
        assert isinstance(module, nn.Linear)
        feeds = [c for c in calls if c.name == name]
        return _of_module(name, module, feeds, layout, layer.name)
    fed = sorted({c.name for c in calls if c.parts and c.is_output})
    if not fed:
        fed = sorted({c.name for c in calls if c.parts})
        if fed and (hidden := _not_last(fed, linears, others)):
            raise ReadoutError(hidden)
    if len(fed) > 1:
        raise ReadoutError(
            f"several Linear layers are fed by the state of {layer.name}: {', '.join(fed)}; "
            "say which one is the readout with attach(..., readout=)"
        )
    if not fed:
        raise ReadoutError(_why_none(layer, calls, linears))
    feeds = [c for c in calls if c.name == fed[0]]
    return _of_module(fed[0], linears[fed[0]], feeds, layout, layer.name)


def _not_last(
    fed: list[str], linears: dict[str, nn.Linear], others: Iterable[nn.Linear]
) -> str | None:
    """Why the Linear fed by the state is not known to be the readout, or None."""
    for name in fed:
        module = linears[name]
        if any(o is not module and o.in_features == module.out_features for o in others):
            return (
                f"{name} is fed by the state, but its output is not what the model returned: it "
                "may be the first layer of an MLP, or attention. If it is the readout, name it "
                f"with attach(..., readout={name!r})"
            )
    return None


def _calls(layer: Layer) -> Iterable[LinearCall]:
    seen = {id(t.forward): t.forward for t in layer.calls}
    return (c for forward in seen.values() for c in forward.linears if c.layer == layer.name)


def _why_none(layer: Layer, calls: list[LinearCall], linears: dict[str, nn.Linear]) -> str:
    reasons = sorted({f"{c.name}: {c.reason}" for c in calls if c.reason})
    if reasons:
        return f"no linear readout of {layer.name}: " + "; ".join(reasons)
    if linears:
        return (
            f"no linear readout of {layer.name}: the Linear layers of fitting width "
            f"({', '.join(linears)}) were not fed by the state itself, but by something in "
            "between (dropout in training mode, normalisation, pooling, an MLP)"
        )
    return (
        f"no linear readout of {layer.name}: the model has no Linear layer of fitting width; "
        "give one with attach(..., readout=(weight, bias))"
    )


def _of_module(
    name: str, module: nn.Linear, feeds: list[LinearCall], layout: Layout, layer: str
) -> Readout:
    fed = [c for c in feeds if c.parts]
    if feeds and not fed:
        raise ReadoutError(f"{name} is not a linear readout of {layer}: {feeds[0].reason}")
    parts = fed[0].parts if fed else None
    bias = None if module.bias is None else module.bias.detach().clone()
    return Readout(_columns(module.weight, parts, layout, name, layer), bias, name)


def _columns(
    weight: Tensor, parts: tuple[str, ...] | None, layout: Layout, name: str, layer: str
) -> Tensor:
    """Spread the weight over the coordinates of the full state; parts it does not read get 0."""
    sizes = {n: layout.slice(n).stop - layout.slice(n).start for n in layout.names}
    if parts is None:
        first = layout.names[0]
        parts = (first,) if weight.shape[-1] == sizes[first] else layout.names
    if weight.dim() != 2 or weight.shape[1] != sum(sizes[p] for p in parts):
        widths = ", ".join(f"{n}: {s}" for n, s in sizes.items())
        raise ReadoutError(
            f"The readout {name!r} has weight {tuple(weight.shape)}, but the state of {layer!r} "
            f"has {widths}; the weight's second axis must be the width of "
            f"{layout.names[0]!r} or of the whole state ({layout.size})."
        )
    out = torch.zeros(weight.shape[0], layout.size, dtype=weight.dtype, device=weight.device)
    start = 0
    for part in parts:
        out[:, layout.slice(part)] = weight.detach()[:, start : start + sizes[part]]
        start += sizes[part]
    return out
