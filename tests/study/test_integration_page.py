"""The pages that answer show the numbers that were measured."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / f"integration-{name}.md" for name in ("beyond-rnns", "tables")]


def test_their_tables_are_those_of_the_rows() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/integration.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert re.search(r"<!-- table: categorical 3 -->\n\|", text)
        # none is empty
        assert not re.search(r"-->\n<!-- end -->", text)
