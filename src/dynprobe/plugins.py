"""Installed plugins: found by entry point, imported only when asked for, isolated when broken.

A package offers analyzers and recurrences in its pyproject.toml::

    [project.entry-points."dynprobe.analyzers"]
    lyapunov = "dynprobe_lyapunov:Lyapunov"

    [project.entry-points."dynprobe.recurrences"]
    "mylab.cells.MyCell" = "mylab.probing:MyCellRecurrence"

Listing entry points imports nothing. An installed analyzer never runs unless its name is given.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))
