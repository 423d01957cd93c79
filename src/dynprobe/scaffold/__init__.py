"""A package with an analyzer of one's own, from a template."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path
from string import Template

from dynprobe.analyzers.registry import analyzer_names
from dynprobe.errors import PluginError

__all__ = ["package_name", "write_plugin"]

#: File of the package -> file of the template; both hold names to fill in.
_FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "${module}.py": "analyzer.py.txt",
    "tests/test_${name}.py": "test_analyzer.py.txt",
}


def package_name(name: str) -> str:
    """The name of the distribution that offers the analyzer `name`."""
    return f"dynprobe-{name.replace('_', '-')}"


def write_plugin(name: str, folder: Path) -> list[Path]:
    """Write a package that offers one analyzer by entry point, ready to be installed.

    Parameters
    ----------
    name : str
        Of the analyzer: lower-case letters, digits and "_".
    folder : Path
        Of the package; made if need be, and empty if it exists.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    PluginError
        If the name cannot be one, is taken, or the folder holds something.
    """
    _check_name(name)
    if folder.exists() and not folder.is_dir():
        raise PluginError(f"{folder} is a file; give a new or an empty folder with --out.")
    if folder.exists() and any(folder.iterdir()):
        raise PluginError(
            f"{folder} is not empty, and nothing is overwritten; give a new or an empty folder "
            "with --out."
        )
    words = name.split("_")
    names = {
        "name": name,
        "class": "".join(word.capitalize() for word in words),
        "title": " ".join(words),
        "module": f"dynprobe_{name}",
        "package": package_name(name),
    }
    template = resources.files("dynprobe.scaffold") / "template"
    written = []
    for target, source in _FILES.items():
        path = folder / Template(target).substitute(names)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (template / source).read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(names), encoding="utf-8")
        written.append(path)
    return written


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        likely = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        hint = likely if re.match(r"[a-z]", likely) and not keyword.iskeyword(likely) else "decay"
        raise PluginError(
            f"{name!r} cannot be the name of an analyzer: it takes lower-case letters, digits and "
            f'single "_", begins with a letter and is no Python keyword, such as {hint!r}.'
        )
    if name in analyzer_names():
        raise PluginError(
            f"There is an analyzer {name!r} already (dynprobe plugins lists them); choose another "
            "name."
        )
