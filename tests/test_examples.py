"""The examples run, and so does every Python block of the README and docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: A page that says so is one session: its blocks go on from each other.
JOINED = "<!-- blocks: one after the other -->"
#: Stands above a block, or anywhere on a page that is one session, which needs an optional package.
NEEDS = re.compile(r"<!-- needs: (\w+) -->\n")


def _blocks():
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text()
        found = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
        if JOINED in text:
            marks = [pytest.mark.requires(kind) for kind in NEEDS.findall(text)]
            code = "\n".join(m.group(1) for m in found)
            yield pytest.param(code, not marks, id=path.name, marks=marks)
            continue
        for match in found:
            line = text[: match.start()].count("\n") + 1
            above = text[: match.start()].splitlines(keepends=True)[-1:]
            marks = [pytest.mark.requires(kind) for kind in NEEDS.findall("".join(above))]
            yield pytest.param(match.group(1), not marks, id=f"{path.name}:{line}", marks=marks)


BLOCKS = list(_blocks())


def run(code: str, folder: Path, strict: bool = True) -> str:
    """Run in a folder of its own: examples write their reports where they are run."""
    command = [sys.executable, "-W", "error" if strict else "default", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_example(path, tmp_path):
    assert run(path.read_text(), tmp_path)


def test_quickstart_shows_the_cell_state_and_writes_a_page(tmp_path):
    out = run((ROOT / "examples" / "quickstart.py").read_text(), tmp_path)
    assert "torch.Size([128, 20, 24])" in out
    assert (tmp_path / "quickstart.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_linear_transformer_of_four_layers_copies_and_counts(tmp_path):
    script = ROOT / "examples" / "linear_transformer_copy.py"
    done = subprocess.run(
        [sys.executable, str(script), "full"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(re.findall(r"^(copy|counting): accuracy ([\d.]+)", done.stdout, re.MULTILINE))
    assert set(found) == {"copy", "counting"}
    assert all(float(accuracy) >= 0.97 for accuracy in found.values()), found


@pytest.mark.parametrize(("code", "strict"), BLOCKS)
def test_block_of_the_documentation(code, strict, tmp_path):
    """Where another package is needed, its own warnings are not ours to forbid."""
    run(code, tmp_path, strict)


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("a wrong layer name", "UnknownNameError: .*'rmn'. Did you mean 'rnn'"),
        (
            "no forward yet",
            r"NothingRecordedError: .*Call model\(...\) while the probe is attached",
        ),
        ("and then the probe is asked", "NothingRecordedError: .*are model and data on one device"),
        ("a padded batch without lengths", r"RecordingWarning: 2 of the 4 .*attach\(..., lengths="),
        ("a file that is not a recording", r"FileFormatError: .*written by Recording.save\(\)"),
        ("an analyzer that is not there", "UnknownNameError: .*Did you mean 'manifold_dimension'"),
        ("seeds of another width", r"ShapeError: .*needs \(n_seeds, 16\)"),
        ("nothing to probe", "NoRecurrenceError: .*Register your own cell"),
    ],
)
def test_ordinary_mistakes_are_answered_with_what_to_do(mistakes, mistake, said):
    assert re.search(rf"^{mistake}\n  {said}", mistakes, re.MULTILINE), mistakes


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    script = (ROOT / "examples" / "mistakes.py").read_text()
    return run(script, tmp_path_factory.mktemp("mistakes"))
