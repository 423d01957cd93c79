"""A new user writes a plugin: the steps of docs/plugins.md, and the template as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dynprobe
from dynprobe.cli import app
from dynprobe.errors import PluginError
from dynprobe.scaffold import write_plugin

PAGE = Path(__file__).parents[1] / "docs" / "plugins.md"
OFFLINE = "pip install --no-deps --no-index --no-build-isolation"


class Environment:
    """A virtual environment of its own that takes everything else from the one of the tests."""

    def __init__(self, root: Path) -> None:
        venv = root / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        self.bin = venv / "bin"
        (site,) = venv.glob("lib/python*/site-packages")
        here = [str(Path(dynprobe.__file__).parents[1]), sysconfig.get_path("purelib")]
        (site / "shared.pth").write_text(
            "".join(f"import site; site.addsitedir({folder!r})\n" for folder in here)
        )
        script = f"#!{self.bin / 'python'}\nfrom dynprobe.cli import main\n\nmain()\n"
        (self.bin / "dynprobe").write_text(script)
        (self.bin / "dynprobe").chmod(0o755)

    def run(self, command: str, folder: Path) -> str:
        """Run a line of the page in a fresh process; what it prints."""
        env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        env |= {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "140"}
        done = subprocess.run(
            command.replace("pip install", OFFLINE),
            shell=True,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        return f"$ {command}\n{done.stdout}"


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path)


def test_the_steps_of_the_page_from_an_empty_folder(environment, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    section = re.search(r"## From an empty folder\n(.*?)\n## ", PAGE.read_text(), re.DOTALL)[1]
    steps = re.findall(r"(?:`([^`\n]+)`:\n\n)?```(py|sh)\n(.*?)```", section, re.DOTALL)
    transcript = []
    for name, kind, text in steps:
        if kind == "sh":
            transcript += [environment.run(line, folder) for line in text.splitlines()]
            continue
        assert (folder / name).parent.is_dir(), name
        (folder / name).write_text(text)
        if name.endswith("dynprobe_settling.py"):
            assert len(text.splitlines()) < 40
    print("\n".join(transcript))
    new, install, tests, listed, used = transcript
    assert "Next: python -m pip install ./dynprobe-settling, then" in new
    assert "25 passed" in tests
    row = next(line for line in listed.splitlines() if line.startswith("settling "))
    assert row.split() == ["settling", "analyzer", "dynprobe-settling", "0.1.0", "ok"]
    shown = next(line for line in used.splitlines() if line.startswith("settling "))
    assert re.match(r"settling +step length +0\.\d+", shown)
    assert re.search(r"SettlingResult\(step_length=0\.\d+\)", used)
    page = (folder / "report.html").read_text()
    assert "settling" in page
    assert "step length" in page


def test_the_template_passes_its_tests_as_written_and_is_in_a_report(environment, tmp_path):
    environment.run("dynprobe plugins new state_norm --out mine", tmp_path)
    environment.run("python -m pip install ./mine", tmp_path)
    assert "12 passed" in environment.run("python -m pytest -q mine", tmp_path)
    assert "state_norm  " in environment.run("dynprobe plugins", tmp_path)
    code = (
        "import dynprobe, torch; rec = dynprobe.Recording.from_arrays(torch.ones(2, 3, 4)); "
        "print(dynprobe.analyze(rec, ['state_norm']))"
    )
    out = environment.run(f'python -W error -c "{code}"', tmp_path)
    assert re.search(r"state_norm +mean norm +2", out)
    rec = dynprobe.Recording.from_arrays([[[3.0, 4.0]]]).save(tmp_path / "rec")
    assert "mean norm" in environment.run(f"dynprobe analyze {rec} --analyzer state_norm", tmp_path)


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("State-Norm", "state_norm"),
        ("2nd", "decay"),
        ("class", "decay"),
        ("", "decay"),
        ("a__b", "a_b"),
        ("../x", "x"),
    ],
)
def test_a_name_that_cannot_be_one(name, likely, tmp_path):
    with pytest.raises(PluginError, match=f"cannot be the name.*such as '{likely}'"):
        write_plugin(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_taken_name_and_a_folder_with_something_in_it(tmp_path):
    with pytest.raises(PluginError, match="There is an analyzer 'fixed_points' already"):
        write_plugin("fixed_points", tmp_path / "new")
    (tmp_path / "mine.txt").write_text("precious")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(PluginError, match="new or an empty folder"):
            write_plugin("mine", out)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_the_command_names_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plugins", "new", "my_own"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert files == [
        "dynprobe-my-own/README.md",
        "dynprobe-my-own/dynprobe_my_own.py",
        "dynprobe-my-own/pyproject.toml",
        "dynprobe-my-own/tests/test_my_own.py",
    ]
    assert all(name in done.output for name in files)
