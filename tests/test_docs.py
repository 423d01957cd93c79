"""The documentation is whole: nothing public is missing from it, and its site can be built."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

import dynprobe
from dynprobe.cli import app
from dynprobe.recurrences.fla import LAYERS
from dynprobe.recurrences.huggingface import CONVOLUTIONS, MIXERS
from dynprobe.recurrences.registry import BUILT_IN

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = "\n".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
NAMESPACES = ("callbacks", "dimension", "nn", "similarity", "tasks", "testing")


def documented(name: str) -> bool:
    return re.search(rf"^::: {re.escape(name)}$", REFERENCE, re.MULTILINE) is not None


def test_every_public_name_is_in_the_reference():
    own = set(dynprobe.__all__) - {*NAMESPACES, "errors", "__version__", "DynprobeError"}
    names = {f"dynprobe.{name}" for name in own} | {
        f"dynprobe.{space}.{name}"
        for space in NAMESPACES
        for name in importlib.import_module(f"dynprobe.{space}").__all__
    }
    assert sorted(name for name in names if not documented(name)) == []
    assert documented("dynprobe.errors")


def test_the_reference_names_nothing_that_is_not_there():
    for name in re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE):
        value: object = dynprobe
        for part in name.split(".")[1:]:
            value = getattr(value, part)


def test_every_recurrence_is_in_the_table_of_models():
    page = (DOCS / "models.md").read_text()
    missing = [n for n in BUILT_IN if n.rsplit(".", 1)[1] not in page]
    missing += [n for n in LAYERS if n.rsplit(".", 1)[1] not in page]
    models = [name.split(".")[2] for name in (*MIXERS, *CONVOLUTIONS)]
    missing += [m for m in models if not re.search(rf"\b{m}\b", page)]
    assert missing == []


def commands(command: click.Command, path: str) -> dict[str, click.Command]:
    found = {path: command}
    for name, sub in getattr(command, "commands", {}).items():
        found |= commands(sub, f"{path} {name}")
    return found


@pytest.mark.parametrize(
    ("path", "command"), commands(typer.main.get_command(app), "dynprobe").items()
)
def test_every_option_of_the_command_line_is_documented(path, command):
    page = (DOCS / "reference" / "cli.md").read_text()
    part = re.search(rf"^#+ `{re.escape(path)}`$(.*?)(?=^#+ `|\Z)", page, re.MULTILINE | re.DOTALL)
    text = page.split("\n## ")[0] if path == "dynprobe" else part and part.group(1)
    assert text, f"{path} is not in docs/reference/cli.md"
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            assert f"* `{parameter.name}" in text
        else:
            assert [o for o in parameter.opts if f"`{o}" not in text] == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert [page for page in pages if f": {page}\n" not in navigation] == []


@pytest.mark.requires("mkdocs")
def test_the_site_builds_without_a_broken_link(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference" / "probing" / "index.html").read_text()
    assert 'id="dynprobe.attach"' in page
    assert "lengths" in page  # a parameter of it
    # read offline, it asks nobody for anything
    foreign = re.compile(r'(src|href)="https?://[^"]*\.(js|css)')
    assert [p for p in tmp_path.rglob("*.html") if foreign.search(p.read_text())] == []
