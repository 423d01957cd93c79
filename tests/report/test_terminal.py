"""A report in a terminal: nothing is cut off, however narrow it is."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

import dynprobe
from dynprobe.nn import RNNClassifier
from dynprobe.report.summary import summary
from dynprobe.report.terminal import render_terminal
from dynprobe.tasks import categorical


@pytest.fixture(scope="module")
def report() -> dynprobe.Report:
    task = categorical(3, 12)
    batch = task.sample(60, seed=0)
    model = RNNClassifier(len(task.vocabulary), 3, hidden_size=8).eval()
    with dynprobe.attach(model, vocabulary=task.vocabulary, classes=task.class_names) as probe:
        model(batch.tokens, batch.lengths)
    probe.recording().annotate(labels=batch.labels)
    return probe.analyze(
        ["manifold_dimension", "bag_of_words", "readout_geometry", "state_spectrum"]
    )


@pytest.mark.parametrize("width", [80, 100, 160])
def test_every_word_of_every_row_is_there(report: dynprobe.Report, width: int) -> None:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(render_terminal(report))
    text = capture.get()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    shown = set(re.sub(r"\s+", " ", text).split())
    for rows in summary(report, "rnn").values():
        for row in rows:
            missing = {*row.measure.split(), *row.value.split()} - shown
            assert not missing, (row, missing)
