"""Analyzers by name: built-in ones, registered ones, installed ones; imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dynprobe.analyzers.base import API, REQUIREMENTS, Analyzer
from dynprobe.errors import PluginError, UnknownNameError, suggest
from dynprobe.plugins import ANALYZERS, Plugin, discover

AnalyzerClass = TypeVar("AnalyzerClass", bound=type[Analyzer])


@dataclass(frozen=True)
class BuiltIn:
    """An analyzer of this package, by where it lives."""

    name: str
    module: str
    attribute: str

    def load(self) -> type[Analyzer]:
        """Import it."""
        cls: type[Analyzer] = getattr(importlib.import_module(self.module), self.attribute)
        return cls


_HERE = "dynprobe.analyzers"
BUILT_IN = {
    b.name: b
    for b in (
        BuiltIn("manifold_dimension", f"{_HERE}.manifold_dimension", "ManifoldDimension"),
        BuiltIn("fixed_points", f"{_HERE}.fixed_points", "FixedPointSearch"),
        BuiltIn("integration_direction", f"{_HERE}.integration_direction", "IntegrationDirection"),
        BuiltIn("state_spectrum", f"{_HERE}.state_spectrum", "StateSpectrum"),
    )
}
_REGISTERED: dict[str, type[Analyzer]] = {}


def register_analyzer(
    name: str, *, override: bool = False
) -> Callable[[AnalyzerClass], AnalyzerClass]:
    """Register an analyzer class under a name.

    Parameters
    ----------
    name : str
        What ``probe.analyze([name])`` and ``report[name]`` call it.
    override : bool
        Replace an analyzer of the same name instead of raising.

    Raises
    ------
    PluginError
        If the name is taken, or the class does not keep the contract (a subclass of
        :class:`Analyzer`, ``api = 1``, known requirements).
    """

    def register(cls: AnalyzerClass) -> AnalyzerClass:
        taken = name in BUILT_IN or name in _REGISTERED
        if taken and not override:
            raise PluginError(
                f"An analyzer called {name!r} exists already; choose another name, or pass "
                "override=True to replace it."
            )
        check_contract(name, cls)
        cls.name = name
        _REGISTERED[name] = cls
        return cls

    return register


def unregister_analyzer(name: str) -> None:
    """Forget a registered analyzer; built-in and installed ones stay."""
    _REGISTERED.pop(name, None)


def find_analyzer(name: str) -> type[Analyzer]:
    """The analyzer class of a name.

    Raises
    ------
    UnknownNameError
        If there is none; near matches are listed.
    PluginError
        If it is an installed plugin that cannot be imported or does not keep the contract.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name in BUILT_IN:
        return BUILT_IN[name].load()
    installed = [p for p in installed_analyzers() if p.name == name]
    if not installed:
        raise UnknownNameError(
            f"There is no analyzer {name!r}. {suggest(name, analyzer_names())} Register your own "
            f"with @dynprobe.register_analyzer({name!r})."
        )
    if len(installed) > 1:
        owners = " and ".join(f"{p.distribution} {p.version}" for p in installed)
        raise PluginError(f"The analyzer {name!r} is offered by {owners}; uninstall one of them.")
    cls = installed[0].load()
    check_contract(name, cls, f" (from {installed[0].distribution} {installed[0].version})")
    cls.name = name
    found: type[Analyzer] = cls
    return found


def installed_analyzers() -> list[Plugin]:
    """Entry points of installed packages; nothing is imported."""
    return discover(ANALYZERS)


def analyzer_names() -> list[str]:
    """Every name that :func:`find_analyzer` knows."""
    return sorted({*BUILT_IN, *_REGISTERED, *(p.name for p in installed_analyzers())})


def check_contract(name: str, cls: object, origin: str = "") -> None:
    """Raise PluginError unless `cls` keeps the analyzer contract."""
    if not (isinstance(cls, type) and issubclass(cls, Analyzer)):
        raise PluginError(
            f"The analyzer {name!r}{origin} is {cls!r}, not a subclass of dynprobe.Analyzer."
        )
    if cls.api != API:
        raise PluginError(
            f"The analyzer {name!r}{origin} is written for api {cls.api}; this dynprobe has api "
            f"{API}. Update one of them."
        )
    unknown = set(cls.requires) - REQUIREMENTS
    if unknown:
        raise PluginError(
            f"The analyzer {name!r}{origin} requires {sorted(unknown)}; known requirements are "
            f"{sorted(REQUIREMENTS)}."
        )
