"""What the comparison has to show of trained models. These train; run with -m slow."""

from __future__ import annotations

import pytest

from dynprobe.report.comparison import MEMORY, STREAM
from dynprobe.study.comparison_study import compare_on_counting


@pytest.mark.slow
def test_a_gru_and_a_linear_transformer_count_in_other_ways(tmp_path):
    found = compare_on_counting(["gru", "linear_transformer"])
    accuracy = found.row("accuracy").cells
    assert all(cell.value >= 0.97 for cell in accuracy.values())
    assert found.findings[0].answer == "yes"
    # both read two dimensions
    for cell in found.row("components for 95 %", STREAM).cells.values():
        assert cell.value == 2
    # one is pulled back to its manifold, the other only adds up
    push = found.row("push off the manifold", MEMORY).cells
    assert push["gru"].value < 0.1
    assert push["linear_transformer"].value == pytest.approx(1, abs=1e-6)
    assert found.findings[2].answer == "no"
    assert found.verdict.startswith(("Only in part: same answers", "No: same answers"))
    page = found.save(tmp_path / "compare.html").read_text()
    assert page.index(found.verdict) < page.index("<img")
