"""Reports of tiny untrained models: what is drawn matters here, not what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import dynprobe
from dynprobe import Report
from dynprobe.analyzers.fixed_points import FixedPointSearch
from dynprobe.nn import RNNClassifier

HOSTILE = "<script>alert(1)</script>"
#: Formulas, markup, spaces, control characters, an emoji, a lone surrogate: tokens hold anything.
WORDS = ["$x_$", HOSTILE, " the", "\n", "🙂", "", "\ud800", "%s", "\\frac", "a" * 60]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def searching() -> list[Any]:
    return [
        "manifold_dimension",
        FixedPointSearch(n_seeds=24),
        "fixed_point_dimension",
        "dimension_scale",
        "integration_direction",
    ]


def classifier_report(
    n_words: int,
    classes: Sequence[str],
    vocabulary: Sequence[str] | None = None,
    units: int = 6,
    **how: Any,
) -> Report:
    model = RNNClassifier(n_words, len(classes), hidden_size=units, generator=seeded(0)).eval()
    tokens = torch.randint(n_words, (40, 8), generator=seeded(1))
    labels = torch.randint(len(classes), (40,), generator=seeded(2))
    with dynprobe.attach(model, vocabulary=vocabulary, classes=classes, **how) as probe:
        with torch.no_grad():
            model(tokens)
        probe.recording().annotate(labels=labels)
        return probe.analyze(searching())


def bare_report(states: Tensor) -> Report:
    return dynprobe.analyze(dynprobe.Recording.from_arrays(states, layer="neurons"))


@dataclass(frozen=True)
class Drawn:
    """A plugin's result with a figure."""

    def figure(self) -> Any:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.add_subplot().set_title("by a plugin")
        return figure

    def summary(self) -> list[tuple[str, str]]:
        return [("plugin measure", "42 apples")]


@dataclass(frozen=True)
class Smudged:
    """A plugin's result whose figure fails."""

    def figure(self) -> Any:
        raise RuntimeError(f"no ink {HOSTILE}")
