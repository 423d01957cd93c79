"""Imports point one way, and `import dynprobe` costs little."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dynprobe

SRC = Path(dynprobe.__file__).parent

# What each part may import of the others. `errors` is open to all.
MAY_IMPORT = {
    "dimension": {"dimension"},
    "geometry": {"geometry", "dimension"},
    "dynamics": {"dynamics", "geometry", "dimension", "plain", "progress"},
    "plain": set(),
    "progress": set(),
    "recurrences": {"recurrences", "dynamics", "geometry", "plugins"},
    "readout": set(),
    "similarity": {"dynamics", "geometry"},
    "plugins": set(),
    "store": set(),
    # tables of what is there: what makes a recording or a report, they do not know
    "frames": {"frames", "recording"},
    "arrays": set(),
    "notebook": set(),
    "recording": {
        "recording",
        "arrays",
        "frames",
        "notebook",
        "readout",
        "recurrences",
        "storage",
        "store",
    },
    "atomic": set(),
    "checked_file": set(),
    "storage": {"atomic", "checked_file", "readout", "recording", "recurrences", "store"},
    "joining": {"recording"},
    "shards": {
        "shards",
        "atomic",
        "checked_file",
        "joining",
        "readout",
        "recording",
        "storage",
        "store",
    },
    "loading": {"dynprobe", "recording", "shards"},
    "capture": {"capture", "joining", "plugins", "recurrences", "readout", "recording", "store"},
    "analyzers": {
        "analyzers",
        "dynamics",
        "geometry",
        "dimension",
        "recording",
        "recurrences",
        "readout",
        "plain",
        "plugins",
    },
    "report": {
        "dynprobe",
        "report",
        "analyzers",
        "dynamics",
        "frames",
        "geometry",
        "dimension",
        "recording",
        "readout",
        "notebook",
        "plain",
    },
    "analysis": {"analyzers", "plugins", "report", "recording", "recurrences", "readout"},
    "distributed": {"analyzers"},
    # what goes by while a model runs
    "streaming": {
        "streaming",
        "analysis",
        "analyzers",
        "distributed",
        "joining",
        "readout",
        "recording",
        "recurrences",
        "report",
    },
    "probe": {
        "analysis",
        "analyzers",
        "capture",
        "recording",
        "recurrences",
        "readout",
        "report",
        "shards",
        "store",
        "streaming",
    },
    "comparison": {
        "comparison",
        "analysis",
        "analyzers",
        "capture",
        "dimension",
        "dynamics",
        "geometry",
        "probe",
        "readout",
        "recording",
        "recurrences",
        "report",
    },
    "callbacks": {
        "callbacks",
        "analysis",
        "analyzers",
        "atomic",
        "capture",
        "dynamics",
        "frames",
        "plain",
        "probe",
        "report",
    },
    "nn": {"nn", "recurrences"},
    "tasks": {"tasks"},
    # what plugin authors run: it sees everything that they do
    "testing": {
        "testing",
        "analysis",
        "analyzers",
        "dynamics",
        "geometry",
        "plain",
        "plugins",
        "probe",
        "readout",
        "recording",
        "recurrences",
        "report",
        "store",
    },
    "scaffold": {"analyzers"},
    "study": {
        "study",
        "analysis",
        "analyzers",
        "atomic",
        "dynamics",
        "readout",
        "recording",
        "recurrences",
        "nn",
        "tasks",
        "probe",
        "report",
        "dimension",
        "geometry",
        "capture",
        "comparison",
    },
    "cli": {
        "study",
        "analyzers",
        "atomic",
        "plugins",
        "recurrences",
        "report",
        "scaffold",
        "dynprobe",
    },
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name == "dynprobe":
                found.add("dynprobe")
            elif name.startswith("dynprobe."):
                found.add(name.split(".")[1])
    return found


@pytest.mark.parametrize(
    "part",
    sorted(
        {p.relative_to(SRC).parts[0].removesuffix(".py") for p in SRC.rglob("*.py")}
        - {"__init__", "errors"}
    ),
)
def test_imports_point_one_way(part):
    files = [SRC / f"{part}.py"] if (SRC / f"{part}.py").exists() else (SRC / part).rglob("*.py")
    for path in files:
        assert imports(path) - {"errors"} <= MAY_IMPORT[part], path


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


PUBLIC = {
    "dynprobe",
    "callbacks",
    "dimension",
    "distributed",
    "errors",
    "nn",
    "similarity",
    "tasks",
    "testing",
}


@pytest.mark.parametrize(
    "path", sorted((SRC.parents[1] / "plugins").rglob("src/*/*.py")), ids=lambda p: p.name
)
def test_plugins_use_the_public_interface_alone(path):
    assert imports(path) <= PUBLIC


HEAVY = (
    "transformers",
    "pandas",
    "lightning",
    "matplotlib",
    "plotly",
    "sklearn",
    "rich",
    "typer",
    "jinja2",
)


def test_import_loads_nothing_heavy():
    code = (
        f"import dynprobe, sys, json; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    assert json.loads(run(code)) == []


def test_attaching_and_recording_load_nothing_heavy_either():
    code = (
        "import dynprobe, torch, sys\n"
        "m = torch.nn.GRU(2, 3)\n"
        "with dynprobe.attach(m) as p: m(torch.randn(4, 5, 2))\n"
        "p.recording()\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert run(code).strip() == "[]"


def test_every_public_name_resolves_in_any_order():
    """A submodule of the same name must not shadow a public function, whatever comes first."""
    code = f"""
import sys, torch
for name in {dynprobe.__all__}:
    for loaded in [m for m in sys.modules if m.split(".")[0] == "dynprobe"]:
        del sys.modules[loaded]
    import dynprobe
    getattr(dynprobe, name)
    functions = ["attach", "analyze", "compare", "load", "linearize", "find_fixed_points"]
    assert all(callable(getattr(dynprobe, f)) for f in functions), name
print("ok")
"""
    assert run(code).strip() == "ok"


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dynprobe.nothing  # noqa: B018
    assert "attach" in dir(dynprobe)


def test_the_version_is_that_of_the_package():
    import tomllib

    project = tomllib.loads((SRC.parents[1] / "pyproject.toml").read_text())["project"]
    assert project["version"] == dynprobe.__version__


def test_every_built_in_analyzer_is_documented():
    from dynprobe.analyzers.registry import BUILT_IN

    page = (SRC.parents[1] / "docs" / "analyzers.md").read_text()
    assert [name for name in BUILT_IN if f"| `{name}` |" not in page] == []
