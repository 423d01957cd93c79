"""The notebooks are kept without outputs, and run as a reader would run them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))
#: What the last cell prints.
LAST = {
    "compare": "linear transformer: 100 % left",
    "own_cell": "modulus 1.30",
    "plugin": "after 14 of 15 words",
    "quickstart": "the task asks for 2",
}
RUN = """
import json, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
outputs = [c.outputs for c in notebook.cells if c.cell_type == "code"]
json.dump(outputs, open("outputs.json", "w"))
"""
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def test_there_is_something_to_expect_of_each():
    assert [path.stem for path in NOTEBOOKS] == sorted(LAST)


@by_name
def test_outputs_are_not_kept(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@by_name
@pytest.mark.slow
@pytest.mark.requires("notebooks")
def test_it_runs_and_ends_with_something_that_means_something(path, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    outputs = json.loads((tmp_path / "outputs.json").read_text())
    pictures = [o for cell in outputs for o in cell if "image/png" in o.get("data", {})]
    assert len(pictures) == 1
    printed = "".join("".join(o.get("text", "")) for o in outputs[-1] if "text" in o)
    printed += "".join("".join(o.get("text", "")) for o in outputs[-2] if "text" in o)
    assert LAST[path.stem] in " ".join(printed.split())
    # a reader sees no warning, and no empty copy of what is printed
    noise = [o for cell in outputs for o in cell if o.get("name") == "stderr"]
    assert [o["text"] for o in noise if "IProgress" not in o["text"]] == []
    assert not any(o["output_type"] == "display_data" for cell in outputs for o in cell)
