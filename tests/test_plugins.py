"""Installed plugins, with packages that are really installed."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap

import pytest
import torch

import dynprobe
from dynprobe.analyzers.registry import analyzer_names
from dynprobe.errors import PluginError
from dynprobe.plugins import ANALYZERS, discover

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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with two installed packages: a broken one and a good one."""
    root = tmp_path_factory.mktemp("plugins")
    packages = {
        "broken-plugin": (
            "broken_plugin",
            'broken = "broken_plugin:Analyzer"',
            "",
            "raise RuntimeError('this package is broken')",
        ),
        "good-plugin": (
            "good_plugin",
            'n_states = "good_plugin:NStates"',
            '"good_plugin.Leaky" = "good_plugin:LeakyRecurrence"',
            """
            from dataclasses import dataclass
            import torch, dynprobe

            @dataclass(frozen=True)
            class Result:
                n: int

            class NStates(dynprobe.Analyzer):
                def analyze(self, ctx):
                    return Result(len(ctx.recording.flat()))

            class Leaky(torch.nn.Module):
                def __init__(self, n):
                    super().__init__()
                    self.w = torch.nn.Linear(n, n)

                def forward(self, x, h=None):
                    h = torch.zeros_like(x) if h is None else h
                    return 0.9 * h + 0.1 * torch.tanh(self.w(h) + x)

            class LeakyRecurrence(dynprobe.Recurrence):
                def __init__(self, module):
                    self.module = module
                    self.input_dim = module.w.in_features
                    self.layout = dynprobe.Layout.of(h=self.input_dim)

                def step(self, state, x):
                    return self.call(x, state)
            """,
        ),
    }
    target = root / "site"
    for name, (module, analyzers, recurrences, code) in packages.items():
        source = root / name
        source.mkdir()
        (source / "pyproject.toml").write_text(
            PYPROJECT.format(name=name, module=module, analyzers=analyzers, recurrences=recurrences)
        )
        (source / f"{module}.py").write_text(textwrap.dedent(code))
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
        command += ["--no-build-isolation", "--target", str(target), str(source)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    return target


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield site
    for name in ("broken_plugin", "good_plugin"):
        sys.modules.pop(name, None)


REC = dynprobe.Recording.from_arrays(torch.randn(4, 5, 3))


def test_listing_imports_nothing(installed):
    names = [p.name for p in discover(ANALYZERS)]
    assert {"broken", "n_states"} <= set(names)
    assert {"broken", "n_states"} <= set(analyzer_names())
    assert "good_plugin" not in sys.modules
    assert "broken_plugin" not in sys.modules


def test_an_installed_plugin_runs_when_named_and_only_then(installed):
    dynprobe.analyze(REC)
    assert "good_plugin" not in sys.modules
    assert dynprobe.analyze(REC, ["n_states"])["n_states"].n == 20


def test_a_broken_plugin_is_isolated_named_and_raised_in_full_when_asked(installed):
    report = dynprobe.analyze(REC, ["broken", "manifold_dimension"])
    assert report["manifold_dimension"].visited.count == 20
    failure = report.failures["broken", "states"]
    assert "broken-plugin 1.2.3" in str(failure)
    assert "this package is broken" in failure.traceback
    with pytest.raises(dynprobe.DynprobeError) as raised:
        report["broken"]
    assert isinstance(raised.value.__cause__, PluginError)
    assert isinstance(raised.value.__cause__.__cause__, RuntimeError)


def test_a_recurrence_plugin_is_found_by_the_class_of_the_module(installed):
    import good_plugin

    cell = good_plugin.Leaky(3)
    with dynprobe.attach(cell) as probe:
        h = None
        for x in torch.randn(6, 2, 3):
            h = cell(x, h)
    rec = probe.recording("leaky")
    assert rec.states.shape == (2, 6, 3)
    assert torch.equal(rec.final, h)
    fp = dynprobe.find_fixed_points(probe.recurrence(), rec.sample(10))
    assert fp.converged.all()


def test_the_command_line_lists_them(installed):
    from typer.testing import CliRunner

    from dynprobe.cli import app

    out = CliRunner().invoke(app, ["plugins"], env={"COLUMNS": "200"}).output
    assert "n_states" in out
    assert "good-plugin" in out
    assert "cannot be imported" in out
    assert "manifold_dimension" in out


def test_a_package_installed_meanwhile_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "late" not in [p.name for p in discover(ANALYZERS)]
    info = tmp_path / "late_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dynprobe.analyzers]\nlate = late_plugin:Late\n")
    assert "late" in [p.name for p in discover(ANALYZERS)]
