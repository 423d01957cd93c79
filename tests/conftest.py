"""What this machine has, and a table of what was skipped for want of it.

`@pytest.mark.requires("data")` skips a test where the data folder is not there. A kind named in
DYNPROBE_REQUIRE (comma-separated) must be there: its absence is then a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # small matrices: threads cost more than they give


def _half_precision_lstm() -> bool:
    """Whether PyTorch's own LSTM runs in bfloat16 here; on some processors it has no kernel."""
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            torch.nn.LSTM(4, 8)(torch.zeros(3, 2, 4))
    except RuntimeError:
        return False
    return True


def _tmpfs() -> bool:
    """Whether a small file system can be mounted here; root alone can."""
    with tempfile.TemporaryDirectory() as folder:
        mounted = _mount(Path(folder), "size=1m")
        if mounted:
            _unmount(Path(folder))
    return mounted


def _mount(folder: Path, options: str) -> bool:
    if shutil.which("mount") is None:
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], capture_output=True, check=True)


KINDS = {
    "bf16_lstm": _half_precision_lstm,
    "data": lambda: Path(os.environ.get("DYNPROBE_DATA", "/nonexistent")).is_dir(),
    "chromium": lambda: shutil.which("chromium") is not None,
    "compiler": lambda: shutil.which(os.environ.get("CXX", "g++")) is not None,
    "cuda": torch.cuda.is_available,
    "datasets": lambda: find_spec("datasets") is not None,
    "fla": lambda: find_spec("fla") is not None,
    "lightning": lambda: find_spec("lightning") is not None,
    "tmpfs": _tmpfs,
    "mkdocs": lambda: find_spec("mkdocs") is not None and find_spec("mkdocstrings") is not None,
    "notebooks": lambda: find_spec("nbclient") is not None and find_spec("ipykernel") is not None,
    "pandas": lambda: find_spec("pandas") is not None,
    "skdim": lambda: find_spec("skdim") is not None,
    "tensorboard": lambda: find_spec("tensorboard") is not None,
    "triton": lambda: find_spec("triton") is not None,
}
NEEDS = "needs "


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires"):
        for kind in marker.args:
            if KINDS[kind]():
                continue
            if kind in os.environ.get("DYNPROBE_REQUIRE", "").split(","):
                pytest.fail(f"this machine must have {kind} (DYNPROBE_REQUIRE), and has not")
            pytest.skip(f"{NEEDS}{kind}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("skipped for want of something")
    # from the reports, which workers of a run in parallel send home
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    skipped = Counter(
        found.group(1) for reason in reasons if (found := re.search(f"{NEEDS}(\\w+)", reason))
    )
    if not skipped:
        terminalreporter.line("nothing")
    for kind, count in sorted(skipped.items()):
        terminalreporter.line(f"{kind:10} {count} tests")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    assert _mount(folder, "size=1m")
    yield folder
    _unmount(folder)


@pytest.fixture
def data() -> Path:
    return Path(os.environ["DYNPROBE_DATA"])


@pytest.fixture(autouse=True)
def _seeded():
    """Random inputs of a test are the same in every run and order."""
    torch.manual_seed(0)
