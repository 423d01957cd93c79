"""Installed plugins: found by entry point, imported only when asked for, isolated when broken.

A package offers analyzers and recurrences in its pyproject.toml::

    [project.entry-points."dynprobe.analyzers"]
    lyapunov = "dynprobe_lyapunov:Lyapunov"

    [project.entry-points."dynprobe.recurrences"]
    "mylab.cells.MyCell" = "mylab.probing:MyCellRecurrence"

Listing entry points imports nothing. An installed analyzer never runs unless its name is given.
The environment variable DYNPROBE_PLUGINS, where it is set, names the only plugins (by entry point
or distribution, separated by commas) that may be imported; set to nothing it allows none.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dynprobe.errors import PluginError, PluginWarning

ANALYZERS = "dynprobe.analyzers"
RECURRENCES = "dynprobe.recurrences"
#: Versions of the plugin contract that are understood; a class says its own as ``api``.
SUPPORTED = (1,)
ALLOW_LIST = "DYNPROBE_PLUGINS"

_WARNED: set[str] = set()


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed distribution."""

    group: str
    name: str
    target: str
    distribution: str
    version: str
    entry_point: EntryPoint

    @property
    def source(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}"

    @property
    def module(self) -> str:
        """The module that it is imported from."""
        return self.target.partition(":")[0]

    @property
    def allowed(self) -> bool:
        """Whether DYNPROBE_PLUGINS is unset, or names it or its distribution."""
        listed = os.environ.get(ALLOW_LIST)
        if listed is None:
            return True
        names = {item.strip() for item in listed.split(",")}
        return self.name in names or _normal(self.distribution) in {_normal(n) for n in names}

    def load(self) -> Any:
        """Import it; a failure is a PluginError that names the distribution, with the cause."""
        if not self.allowed:
            raise PluginError(
                f"The plugin {self.name!r} (from {self.source}) is installed, but {ALLOW_LIST} is "
                f"set to {os.environ[ALLOW_LIST]!r} and does not allow it. Add {self.name!r} or "
                f"{self.distribution!r} to it, or unset it."
            )
        try:
            return self.entry_point.load()
        # a module that ends the process when it is imported is broken like any other
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"The plugin {self.name!r} ({self.target}, from {self.source}) cannot be imported: "
                f"{type(error).__name__}: {error}. Repair or uninstall {self.distribution}; "
                "everything else keeps working."
            ) from error


def discover(group: str, *, allowed: bool = True) -> list[Plugin]:
    """Entry points of `group` in every installed distribution, by name; imports nothing.

    Parameters
    ----------
    group : str
        "dynprobe.analyzers" or "dynprobe.recurrences".
    allowed : bool
        Leave out what DYNPROBE_PLUGINS does not name.
    """
    found = _discover(group, tuple(map(_changed, sys.path)))
    return [plugin for plugin in found if plugin.allowed or not allowed]


def source_of(cls: type) -> str:
    """The distribution and version of the plugin that a class is from; empty where it is none."""
    package = cls.__module__.partition(".")[0]
    plugins = [*discover(ANALYZERS), *discover(RECURRENCES)]
    same = [p for p in plugins if p.module == cls.__module__]
    near = [p for p in plugins if p.module.partition(".")[0] == package]
    return next((p.source for p in [*same, *near]), "")


def check_api(cls: Any, what: str) -> None:
    """Raise PluginError unless ``cls.api`` is a version of the contract that is understood."""
    if cls.api not in SUPPORTED:
        raise PluginError(
            f"{what} is written for api {cls.api!r}; this dynprobe supports api "
            f"{' and '.join(map(str, SUPPORTED))}. Update dynprobe or the plugin, whichever is "
            "older."
        )


def check_rivals(what: str, sources: Iterable[str], replace: str) -> None:
    """Raise PluginError if more than one of `sources` offers the same.

    Parameters
    ----------
    what : str
        Such as "The analyzer 'lyapunov'".
    sources : iterable of str
        Who offers it.
    replace : str
        The call that chooses one of them.
    """
    owners = list(sources)
    if len(owners) > 1:
        raise PluginError(
            f"{what} is offered by {' and '.join(owners)}. Uninstall one of them, leave one out of "
            f"{ALLOW_LIST}, or import the class you want and choose it by {replace}."
        )


def warn_once(message: str, about: str = "") -> None:
    """Say what is wrong with a plugin, once in a process about the same thing."""
    about = about or message
    if about not in _WARNED:
        _WARNED.add(about)
        warnings.warn(message, PluginWarning, stacklevel=3)


def _normal(distribution: str) -> str:
    """The name of a distribution as package indices compare it."""
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def _changed(folder: str) -> tuple[str, float]:
    """A folder of packages and when something was last installed there."""
    try:
        return folder, os.stat(folder or os.curdir).st_mtime
    except OSError:
        return folder, 0.0


@lru_cache(maxsize=8)
def _discover(group: str, places: tuple[tuple[str, float], ...]) -> tuple[Plugin, ...]:
    # kept while `places` stay as they are: this reads a file of every installed distribution, and
    # attach() asks again for each kind of module it does not know
    found = [
        Plugin(
            group,
            point.name,
            point.value,
            point.dist.name if point.dist else "unknown",
            point.dist.version if point.dist else "unknown",
            point,
        )
        for point in entry_points(group=group)
    ]
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.distribution)))
