"""Which module classes hold a recurrence, and who reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from dynprobe.errors import PluginError
from dynprobe.plugins import RECURRENCES, discover
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.cells import CellObserver
from dynprobe.recurrences.fla import LAYERS, FlaObserver
from dynprobe.recurrences.gated import GRURecurrence, LSTMRecurrence, RNNRecurrence
from dynprobe.recurrences.huggingface import CONVOLUTIONS, observer_of
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
        If the class is registered already, or the decorated class is of neither kind.

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

    def register(cls: Registered) -> Registered:
        if module_class in _OBSERVERS and not override:
            raise PluginError(
                f"A recurrence for {module_class.__module__}.{module_class.__qualname__} is "
                "registered already; pass override=True to replace it."
            )
        _OBSERVERS[module_class] = _as_observer(cls)
        return cls

    return register


def unregister_recurrence(module_class: type[nn.Module]) -> None:
    """Forget the registration of `module_class`, if there is one."""
    _OBSERVERS.pop(module_class, None)


def find_observer(module: nn.Module) -> Observer | None:
    """The observer of a module's class or of its nearest registered ancestor.

    Plugins are matched by the qualified name of the class, which is their entry point's name, so
    that nothing is imported for models that do not use them.
    """
    for cls in type(module).__mro__:
        if cls in _OBSERVERS:
            return _OBSERVERS[cls]
    names = {f"{c.__module__}.{c.__qualname__}": c for c in type(module).__mro__}
    for name, cls in names.items():
        known = FlaObserver() if name in LAYERS else observer_of(name)
        if known is not None:
            _OBSERVERS[cls] = known
            return known
    for plugin in discover(RECURRENCES):
        if plugin.name in names:
            observer = _as_observer(plugin.load())
            _OBSERVERS[names[plugin.name]] = observer
            return observer
    return None


def is_convolution(module: nn.Module) -> bool:
    """Whether a module only filters its input: a finite impulse response, no recurrent state."""
    return any(f"{c.__module__}.{c.__qualname__}" in CONVOLUTIONS for c in type(module).__mro__)


def registered_modules() -> list[str]:
    """Names of the module classes that are registered now, for messages and listings."""
    return sorted(f"{c.__module__}.{c.__qualname__}" for c in _OBSERVERS)


def _as_observer(cls: object) -> Observer:
    if isinstance(cls, type) and issubclass(cls, Recurrence):
        return CellObserver(cls)
    if isinstance(cls, type) and issubclass(cls, Observer):
        return cls()
    raise PluginError(
        f"{cls!r} is neither a dynprobe.Recurrence nor a dynprobe.Observer subclass, so it cannot "
        "be registered as a recurrence."
    )
