"""The pages of what was measured show the numbers of the rows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("script", "pages", "place"),
    [
        (
            "integration.py",
            ("integration-beyond-rnns.md", "integration-tables.md"),
            "table: categorical 3",
        ),
        ("reproduction.py", ("reproduction.md",), "rows: gru"),
    ],
)
def test_their_tables_are_those_of_the_rows(
    script: str, pages: tuple[str, ...], place: str
) -> None:
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for page in pages:
        text = (DOCS / page).read_text(encoding="utf-8")
        assert re.search(rf"<!-- {place} -->\n\|", text)
        # none is empty
        assert not re.search(r"-->\n<!-- end -->", text)
