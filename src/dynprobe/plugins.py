"""Installed plugins: found by entry point, imported only when asked for, isolated when broken.

A package offers analyzers and recurrences in its pyproject.toml::

    [project.entry-points."dynprobe.analyzers"]
    lyapunov = "dynprobe_lyapunov:Lyapunov"

    [project.entry-points."dynprobe.recurrences"]
    "mylab.cells.MyCell" = "mylab.probing:MyCellRecurrence"

Listing entry points imports nothing. An installed analyzer never runs unless its name is given.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from dynprobe.errors import PluginError

ANALYZERS = "dynprobe.analyzers"
RECURRENCES = "dynprobe.recurrences"


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed distribution."""

    group: str
    name: str
    target: str
    distribution: str
    version: str
    entry_point: EntryPoint

    def load(self) -> Any:
        """Import it; a failure is a PluginError that names the distribution, with the cause."""
        try:
            return self.entry_point.load()
        except Exception as error:
            raise PluginError(
                f"The plugin {self.name!r} ({self.target}, from {self.distribution} "
                f"{self.version}) cannot be imported: {type(error).__name__}: {error}. Repair or "
                f"uninstall {self.distribution}; everything else keeps working."
            ) from error


def discover(group: str) -> list[Plugin]:
    """Entry points of `group` in every installed distribution, by name; imports nothing."""
    return list(_discover(group, tuple(map(_changed, sys.path))))


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
