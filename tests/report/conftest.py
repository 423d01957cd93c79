"""Reports to draw, made once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from report_samples import (
    HOSTILE,
    WORDS,
    Drawn,
    Smudged,
    bare_report,
    classifier_report,
    searching,
    seeded,
)
from torch import Tensor, nn

import dynprobe
from dynprobe import Report


@pytest.fixture(scope="session")
def three() -> Report:
    """Three classes and four words: everything there is to draw."""
    report = classifier_report(4, ["A", "B", "C"], ["a", "b", "c", "neutral"])
    report.details = {"training": "none, random weights"}
    return report


@pytest.fixture(scope="session")
def text() -> Report:
    """More words than can be named, some of them hostile, and more classes than colours."""
    words = [*WORDS, *(f"word{i}" for i in range(30))]
    return classifier_report(len(words), [HOSTILE, "$", *"abcdefg"], words)


@pytest.fixture(scope="session")
def bare() -> Report:
    """States from elsewhere: no model, readout, labels, tokens."""
    return bare_report(torch.randn(5, 12, 4, generator=seeded(3)).cumsum(1))


@pytest.fixture(scope="session")
def stacked() -> Report:
    """Two layers, the lower one without readout; an analyzer is skipped, one fails, two draw."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 5, num_layers=2, batch_first=True)
            self.out = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x)[0][:, -1])

    class Broken(dynprobe.Analyzer):
        name = "broken"

        def analyze(self, ctx: dynprobe.Context) -> Any:
            raise ValueError(f"broken by {HOSTILE}")

    class Needy(dynprobe.Analyzer):
        name = "needy"
        requires = frozenset({"labels"})

        def analyze(self, ctx: dynprobe.Context) -> Any:
            raise AssertionError

    class Drawing(dynprobe.Analyzer):
        name = "drawing"

        def analyze(self, ctx: dynprobe.Context) -> Any:
            return Drawn()

    class Smudging(dynprobe.Analyzer):
        name = "smudging"

        def analyze(self, ctx: dynprobe.Context) -> Any:
            return Smudged()

    torch.manual_seed(4)
    model = Two()
    with dynprobe.attach(model) as probe, torch.no_grad():
        model(torch.randn(20, 7, 3, generator=seeded(5)))
    report = probe.analyze([*searching(), Broken(), Needy(), Drawing(), Smudging()])
    for name in ("fixed_points", "integration_direction"):  # fewer pictures, faster tests
        del report.results[name, "rnn.l0"]
    return report
