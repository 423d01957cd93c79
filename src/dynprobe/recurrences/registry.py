"""Which module classes hold a recurrence, and who reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from dynprobe.errors import PluginError
from dynprobe.plugins import (
    RECURRENCES,
    Plugin,
    check_api,
    check_rivals,
    discover,
    source_of,
    warn_once,
)
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.cells import CellObserver
from dynprobe.recurrences.fla import LAYERS, FlaObserver
from dynprobe.recurrences.gated import GRURecurrence, LSTMRecurrence, RNNRecurrence
from dynprobe.recurrences.huggingface import CONVOLUTIONS, MIXERS, observer_of
from dynprobe.recurrences.observer import Observer
from dynprobe.recurrences.torch_layers import TorchLayerObserver

Registered = TypeVar("Registered", bound=type[Recurrence] | type[Observer])

_OBSERVERS: dict[type[nn.Module], Observer] = {
    nn.RNN: TorchLayerObserver(),
    nn.GRU: TorchLayerObserver(),
    nn.LSTM: TorchLayerObserver(),
    nn.RNNCell: CellObserver(RNNRecurrence),
    nn.GRUCell: CellObserver(GRURecurrence),
    nn.LSTMCell: CellObserver(LSTMRecurrence),
}
BUILT_IN = frozenset(f"{cls.__module__}.{cls.__qualname__}" for cls in _OBSERVERS)


def register_recurrence(
    module_class: type[nn.Module], *, override: bool = False
) -> Callable[[Registered], Registered]:
    """Make a module class known to :func:`dynprobe.attach`.

    Decorates either a :class:`Recurrence`, whose module is then read as a cell called once per
    step (``cell(x, state) -> state``), or an :class:`Observer` for any other convention.

    Parameters
    ----------
    module_class : type
        Subclasses of it are recognised too.
    override : bool
        Replace an earlier registration instead of raising.

    Raises
    ------
    PluginError
        If the class is registered already (also by an installed plugin), or the decorated class
        is of neither kind or written for another api.

    Examples
    --------
    ::

        @dynprobe.register_recurrence(MyCell)
        class MyCellRecurrence(dynprobe.Recurrence):
            def __init__(self, module):
                self.module = module
                self.layout = dynprobe.Layout.of(h=module.hidden_size)
                self.input_dim = module.input_size

            def step(self, state, x):
                return self.call(x, state)
    """
    if not (isinstance(module_class, type) and issubclass(module_class, nn.Module)):
        raise PluginError(
            f"register_recurrence() was given {module_class!r}, not a class of modules; write "
            "@dynprobe.register_recurrence(YourCell) above the recurrence."
        )

    def register(cls: Registered) -> Registered:
        if not override and _taken(module_class, cls):
            raise PluginError(
                f"A recurrence for {qualified(module_class)} is registered already; pass "
                "override=True to replace it."
            )
        _OBSERVERS[module_class] = _as_observer(cls)
        return cls

    return register


def unregister_recurrence(module_class: type[nn.Module]) -> None:
    """Forget the registration of `module_class`, if there is one."""
    _OBSERVERS.pop(module_class, None)


def find_observer(module: nn.Module) -> Observer | None:
    """The observer of a module's class or of its nearest known ancestor.

    Plugins are matched by the qualified name of the class, which is their entry point's name, so
    that nothing is imported for models that do not use them.

    Raises
    ------
    PluginError
        If an installed plugin offers it and cannot be used.
    """
    plugins = {plugin.name: plugin for plugin in discover(RECURRENCES)}
    for cls in type(module).__mro__:
        name = qualified(cls)
        if name in plugins and _is_built_in(name):
            try:
                _check_rivals(name)
            except PluginError as error:
                # a package that was installed for something else must not take a built-in down
                warn_once(f"{error} Until then dynprobe reads it itself.")
        if cls not in _OBSERVERS:
            found = _of_mixer(name)
            if found is None and name in plugins:
                found = load_plugin(plugins[name])
            if found is None:
                continue
            _OBSERVERS[cls] = found
        return _OBSERVERS[cls]
    return None


def load_plugin(plugin: Plugin) -> Observer:
    """The observer that an installed plugin offers.

    Raises
    ------
    PluginError
        If its module class is taken, it cannot be imported, or it does not keep the contract.
    """
    if not plugin.allowed:
        plugin.load()  # says why not
    _check_rivals(plugin.name)
    return _as_observer(plugin.load(), f" (from {plugin.source})")


def recurrences_of(observer: Observer, module: nn.Module) -> dict[str, Recurrence]:
    """Recurrences inside the module by suffix; a plugin that fails here is a PluginError."""
    try:
        return observer.recurrences(module)
    except Exception as error:
        cls = observer.recurrence if isinstance(observer, CellObserver) else type(observer)
        source = source_of(cls)
        if not source:
            raise
        raise PluginError(
            f"{cls.__name__} (from {source}) cannot read this {type(module).__name__}: "
            f"{type(error).__name__}: {error}."
        ) from error


def is_convolution(module: nn.Module) -> bool:
    """Whether a module only filters its input: a finite impulse response, no recurrent state."""
    return any(f"{c.__module__}.{c.__qualname__}" in CONVOLUTIONS for c in type(module).__mro__)


def registered_modules() -> list[str]:
    """Names of the module classes that are registered now, for messages and listings."""
    return sorted(map(qualified, _OBSERVERS))


def qualified(cls: type) -> str:
    """The name that a plugin's entry point gives the module class it reads."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _of_mixer(name: str) -> Observer | None:
    """The observer of a mixer of flash-linear-attention or transformers."""
    return FlaObserver() if name in LAYERS else observer_of(name)


def _is_built_in(name: str) -> bool:
    return name in BUILT_IN or name in LAYERS or name in MIXERS


def _check_rivals(name: str) -> None:
    own = ["dynprobe itself"] if _is_built_in(name) else []
    sources = [*own, *(p.source for p in discover(RECURRENCES) if p.name == name)]
    choose = f"dynprobe.register_recurrence({name.rpartition('.')[2]}, override=True)(TheClass)"
    check_rivals(f"The recurrence of {name}", sources, choose)


def _taken(module_class: type[nn.Module], cls: type) -> bool:
    """Whether the module class has a recurrence; a plugin may register what it also offers."""
    package = cls.__module__.partition(".")[0]
    offers = [p for p in discover(RECURRENCES) if p.name == qualified(module_class)]
    others = [p for p in offers if p.module.partition(".")[0] != package]
    return module_class in _OBSERVERS or _is_built_in(qualified(module_class)) or bool(others)


def _as_observer(cls: object, origin: str = "") -> Observer:
    if not (isinstance(cls, type) and issubclass(cls, (Recurrence, Observer))):
        raise PluginError(
            f"{cls!r}{origin} is neither a dynprobe.Recurrence nor a dynprobe.Observer subclass, "
            "so it cannot be registered as a recurrence."
        )
    check_api(cls, f"The recurrence {cls.__qualname__}{origin}")
    return CellObserver(cls) if issubclass(cls, Recurrence) else cls()
