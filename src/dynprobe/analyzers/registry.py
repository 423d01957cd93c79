"""Analyzers by name: built-in ones, registered ones, installed ones; imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dynprobe.analyzers.base import REQUIREMENTS, Analyzer
from dynprobe.errors import PluginError, UnknownNameError, suggest
from dynprobe.plugins import ANALYZERS, Plugin, check_api, check_rivals, discover, warn_once

AnalyzerClass = TypeVar("AnalyzerClass", bound=type[Analyzer])


@dataclass(frozen=True)
class BuiltIn:
    """An analyzer of this package, by where it lives.

    One that does not run `unasked` is meant for a run that keeps no states, or gives much.
    """

    name: str
    module: str
    attribute: str
    unasked: bool = True

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
        BuiltIn("fixed_point_dimension", f"{_HERE}.fixed_point_dimension", "FixedPointDimension"),
        BuiltIn("dimension_scale", f"{_HERE}.dimension_scale", "DimensionScale"),
        BuiltIn("integration_direction", f"{_HERE}.integration_direction", "IntegrationDirection"),
        BuiltIn("state_spectrum", f"{_HERE}.state_spectrum", "StateSpectrum"),
        BuiltIn("readout_geometry", f"{_HERE}.readout_geometry", "ReadoutSimplex"),
        BuiltIn("components_accuracy", f"{_HERE}.components_accuracy", "ComponentsAccuracy"),
        BuiltIn("order_shuffle", f"{_HERE}.order_shuffle", "OrderShuffle"),
        BuiltIn("word_counts", f"{_HERE}.word_counts", "WordCounts"),
        BuiltIn("bag_of_words", f"{_HERE}.bag_of_words", "BagOfWords"),
        BuiltIn("final_states", f"{_HERE}.final_states", "FinalStates", unasked=False),
        BuiltIn("sampled_states", f"{_HERE}.sampled_states", "SampledStates", unasked=False),
        BuiltIn("token_pushes", f"{_HERE}.token_pushes", "TokenPushes", unasked=False),
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
        If the name is taken (by a built-in, a registered or an installed one), or the class does
        not keep the contract (a subclass of :class:`Analyzer`, ``api = 1``, known requirements).
    """
    if not isinstance(name, str) or not name:
        raise PluginError(
            f"register_analyzer() was given {name!r} for a name; write "
            '@dynprobe.register_analyzer("my_analyzer") above the class.'
        )

    def register(cls: AnalyzerClass) -> AnalyzerClass:
        if not override and isinstance(cls, type) and _taken(name, cls):
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
    installed = [p for p in installed_analyzers() if p.name == name]
    if name in BUILT_IN:
        try:
            _check_rivals(name)
        except PluginError as error:
            # a package that was installed for something else must not take a built-in down
            warn_once(f"{error} Until then {name!r} is dynprobe's own.")
        return BUILT_IN[name].load()
    if not installed:
        for plugin in discover(ANALYZERS, allowed=False):
            if plugin.name == name:
                plugin.load()  # says why not
        raise UnknownNameError(
            f"There is no analyzer {name!r}. {suggest(name, analyzer_names())} Register your own "
            f"with @dynprobe.register_analyzer({name!r})."
        )
    return load_plugin(installed[0])


def load_plugin(plugin: Plugin) -> type[Analyzer]:
    """The analyzer class of an installed plugin.

    Raises
    ------
    PluginError
        If its name is taken, it cannot be imported, or it does not keep the contract.
    """
    if not plugin.allowed:
        plugin.load()  # says why not
    _check_rivals(plugin.name)
    cls = plugin.load()
    check_contract(plugin.name, cls, f" (from {plugin.source})")
    cls.name = plugin.name
    found: type[Analyzer] = cls
    return found


def installed_analyzers() -> list[Plugin]:
    """Entry points of installed packages; nothing is imported."""
    return discover(ANALYZERS)


def analyzer_names() -> list[str]:
    """Every name that :func:`find_analyzer` knows."""
    return sorted({*BUILT_IN, *_REGISTERED, *(p.name for p in installed_analyzers())})


def _check_rivals(name: str) -> None:
    own = ["dynprobe itself"] if name in BUILT_IN else []
    sources = [*own, *(p.source for p in installed_analyzers() if p.name == name)]
    choose = f"dynprobe.register_analyzer({name!r}, override=True)(TheClass)"
    check_rivals(f"The analyzer {name!r}", sources, choose)


def _taken(name: str, cls: type[Analyzer]) -> bool:
    """Whether another analyzer has the name; a plugin may register what it also offers."""
    package = cls.__module__.partition(".")[0]
    offers = [p for p in installed_analyzers() if p.name == name]
    others = [p for p in offers if p.module.partition(".")[0] != package]
    return name in BUILT_IN or name in _REGISTERED or bool(others)


def check_contract(name: str, cls: object, origin: str = "") -> None:
    """Raise PluginError unless `cls` keeps the analyzer contract."""
    if not (isinstance(cls, type) and issubclass(cls, Analyzer)):
        raise PluginError(
            f"The analyzer {name!r}{origin} is {cls!r}, not a subclass of dynprobe.Analyzer."
        )
    check_api(cls, f"The analyzer {name!r}{origin}")
    if not isinstance(cls.requires, (set, frozenset, tuple, list)):
        raise PluginError(
            f"The analyzer {name!r}{origin} has requires = {cls.requires!r}, not a set of names; "
            'write requires = frozenset({"states"}).'
        )
    unknown = set(cls.requires) - REQUIREMENTS
    if unknown:
        raise PluginError(
            f"The analyzer {name!r}{origin} requires {sorted(unknown)}; known requirements are "
            f"{sorted(REQUIREMENTS)}."
        )
