"""Which modules to probe, and which other modules to look at."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from torch import nn

from dynprobe.capture.compiled import is_compiled, own_name
from dynprobe.capture.layer import Layer
from dynprobe.errors import NoRecurrenceError, PluginError, UnknownNameError, suggest
from dynprobe.plugins import warn_once
from dynprobe.recurrences.registry import (
    find_observer,
    is_convolution,
    recurrences_of,
    registered_modules,
)

LayerChoice: TypeAlias = str | nn.Module | Sequence[str | nn.Module]


def unwrap(model: nn.Module) -> tuple[nn.Module, list[nn.Module]]:
    """The user's own model inside its wrappers, so that names and arguments are its own.

    Returns
    -------
    nn.Module
        The model inside DistributedDataParallel and ``torch.compile(model)``.
    list of nn.Module
        Every compiled wrapper, around it and inside it.

    Raises
    ------
    NoRecurrenceError
        For DataParallel: it runs copies of the model, which no hook of the original sees.
    """
    if isinstance(model, nn.DataParallel):
        raise NoRecurrenceError(
            "nn.DataParallel runs copies of the model on each device, and hooks do not see them. "
            "Attach to the model inside (model.module) and call that, or use "
            "DistributedDataParallel."
        )
    around = []
    while isinstance(model, nn.parallel.DistributedDataParallel) or is_compiled(model):
        if is_compiled(model):
            around.append(model)
        inner = model._modules["_orig_mod" if is_compiled(model) else "module"]
        assert inner is not None
        model = inner
    return model, around + [m for m in model.modules() if is_compiled(m)]


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module and the name it has without compiled wrappers, wrappers themselves left out."""
    return ((own_name(n), m) for n, m in model.named_modules() if not is_compiled(m))


def select_layers(model: nn.Module, choice: LayerChoice | None) -> dict[str, Layer]:
    """Find the layers to probe by module name.

    Parameters
    ----------
    model : nn.Module
        Any module tree.
    choice : str, module, sequence of these, or None
        Names, keys of single recurrences ("rnn.l0"), globs over either, or module objects; None
        for every recurrence. A module's name stands for all its recurrences.

    Raises
    ------
    NoRecurrenceError
        If nothing in the model is a known recurrence, or a chosen module is not.
    UnknownNameError
        If a name matches nothing.
    PluginError
        If what is chosen, or all there is, is read by an installed plugin that cannot be used;
        beside other layers such a plugin is warned about.
    """
    layers, broken = _recurrent_modules(model)
    if not layers:
        if broken:
            raise next(iter(broken.values()))
        filters = [name for name, m in named_modules(model) if is_convolution(m)]
        if filters:
            raise NoRecurrenceError(
                f"{type(model).__name__} mixes tokens by short convolutions ({filters[0]}, "
                f"{len(filters)} in all) and attention only: a finite impulse response has no "
                "recurrent state, so there is nothing to probe."
            )
        children = sorted({type(m).__name__ for m in model.modules()})
        raise NoRecurrenceError(
            f"No recurrent layer found in {type(model).__name__}. It is made of "
            f"{', '.join(children[:12])}{', ...' if len(children) > 12 else ''}; known are "
            f"{', '.join(registered_modules())}. Register your own cell with "
            "@dynprobe.register_recurrence(YourCell)."
        )
    items = [choice] if isinstance(choice, (str, nn.Module)) else list(choice or ())
    modules = dict(named_modules(model))
    for name, error in broken.items():
        if any(item == name or item is modules.get(name, model) for item in items):
            raise error
        warn_once(str(error))
    if choice is None:
        return layers
    chosen = {key for item in items for key in _match(model, item, layers)}
    for layer in layers.values():
        kept = {suffix for key, suffix in layer.keys.items() if key in chosen}
        layer.recurrences = {s: r for s, r in layer.recurrences.items() if s in kept}
    return {name: layer for name, layer in layers.items() if layer.recurrences}


def _recurrent_modules(model: nn.Module) -> tuple[dict[str, Layer], dict[str, PluginError]]:
    """Layers by name, and what is wrong with the plugins that should have read others."""
    found: dict[str, Layer] = {}
    broken: dict[str, PluginError] = {}
    inside: list[str] = []
    for name, module in named_modules(model):
        if any(name.startswith(prefix) for prefix in inside):
            continue  # the parts of a recurrence are not recurrences of their own
        key = name or type(model).__name__.lower()
        try:
            observer = find_observer(module)
            if observer is not None:
                found[key] = Layer(key, module, observer, recurrences_of(observer, module))
                inside.append(f"{name}." if name else "")
        except PluginError as error:
            broken[key] = error
    return found, broken


def _match(model: nn.Module, item: str | nn.Module, layers: dict[str, Layer]) -> set[str]:
    """Keys of the recurrences that `item` stands for."""
    if isinstance(item, nn.Module):
        keys = {key for layer in layers.values() if layer.module is item for key in layer.keys}
        if not keys:
            raise NoRecurrenceError(
                f"The {type(item).__name__} given as a layer is not a known recurrence of this "
                f"model. {suggest('', layers)}"
            )
        return keys
    keys = {
        key
        for name, layer in layers.items()
        for key in layer.keys
        if fnmatch.fnmatchcase(name, item) or fnmatch.fnmatchcase(key, item)
    }
    if keys:
        return keys
    others = {name: module for name, module in named_modules(model) if name}
    if item in others:
        raise NoRecurrenceError(
            f"{item!r} is a {type(others[item]).__name__}, which is not a known recurrence. "
            f"{suggest(item, layers)} Register your own cell with "
            "@dynprobe.register_recurrence(YourCell)."
        )
    names = [*layers, *(key for layer in layers.values() for key in layer.keys)]
    raise UnknownNameError(f"No recurrent layer is called {item!r}. {suggest(item, set(names))}")


def find_embeddings(model: nn.Module) -> dict[str, nn.Module]:
    """Every nn.Embedding by name."""
    return {name: m for name, m in named_modules(model) if isinstance(m, nn.Embedding)}


def find_linears(model: nn.Module, layers: Iterable[Layer]) -> dict[str, nn.Linear]:
    """Every nn.Linear outside the layers whose width would fit one of their states."""
    layers = list(layers)
    widths: set[int] = set()
    for layer in (la for la in layers if la.observer.shows_state):
        directions = layer.observer.directions(layer.module)
        sizes = [
            layer.top.layout.slice(name).stop - layer.top.layout.slice(name).start
            for name in layer.top.layout.names
        ]
        widths |= {size * directions for size in sizes} | {sum(sizes)}
    inside = {id(m) for layer in layers for m in layer.module.modules()}
    return {
        name: m
        for name, m in named_modules(model)
        if isinstance(m, nn.Linear) and m.in_features in widths and id(m) not in inside
    }
