"""Packages that tests write and really install."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "{name}"
version = "1.2.3"
[project.entry-points."dynprobe.analyzers"]
{analyzers}
[project.entry-points."dynprobe.recurrences"]
{recurrences}
[tool.setuptools]
py-modules = ["{module}"]
"""


@dataclass(frozen=True)
class Package:
    """One module, and what it offers: entry point name -> attribute of the module."""

    name: str
    code: str
    analyzers: dict[str, str] = field(default_factory=dict)
    recurrences: dict[str, str] = field(default_factory=dict)

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    def write(self, root: Path) -> Path:
        folder = root / self.name
        folder.mkdir()

        def points(offers: dict[str, str]) -> str:
            return "\n".join(f'"{name}" = "{self.module}:{at}"' for name, at in offers.items())

        text = PYPROJECT.format(
            name=self.name,
            module=self.module,
            analyzers=points(self.analyzers),
            recurrences=points(self.recurrences),
        )
        (folder / "pyproject.toml").write_text(text)
        (folder / f"{self.module}.py").write_text(textwrap.dedent(self.code))
        return folder


def pip_install(*sources: Path, target: Path) -> None:
    """Install without network, dependencies or a build environment."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
