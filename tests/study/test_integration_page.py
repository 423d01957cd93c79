"""The page that answers shows the numbers that were measured."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "integration-beyond-rnns.md"


def test_its_tables_are_those_of_the_rows() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/integration.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    places = re.findall(r"<!-- table: (\w+) (\d+) -->\n\|", PAGE.read_text(encoding="utf-8"))
    assert ("categorical", "3") in places
