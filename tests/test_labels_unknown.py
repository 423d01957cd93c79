"""Labels that stand for none count neither for nor against a model."""

from __future__ import annotations

import pytest
import torch

import dynprobe
from dynprobe.errors import ShapeError


def recording(labels):
    generator = torch.Generator().manual_seed(0)
    logits = torch.eye(3)[torch.tensor([0, 1, 2, 0, 1, 2])]
    states = torch.randn(6, 4, 3, generator=generator)
    return dynprobe.Recording.from_arrays(states, labels=labels, logits=logits)


def test_the_report_s_accuracy_is_of_known_labels_only():
    rec = recording([0, 1, 2, -100, -100, 0])
    report = dynprobe.analyze(rec, "final_states")
    assert report.views["states"].accuracy == pytest.approx(0.75)


def test_numbers_that_are_no_classes_have_no_accuracy():
    rec = recording(torch.rand(6))
    assert dynprobe.analyze(rec, "final_states").views["states"].accuracy is None


def test_a_missing_label_is_no_class_of_final_states():
    found = dynprobe.analyze(recording([0, 1, 0, 1, -100, -100]), "final_states")["final_states"]
    few = dynprobe.analyze(recording([0, 1, 0, 1, -100, -100])[:4], "final_states")["final_states"]
    assert found.labels == (0, 1)
    assert found.between == pytest.approx(few.between)


def test_lengths_can_only_shorten():
    rec = recording([0] * 6).annotate(lengths=[4, 3, 4, 4, 2, 4])
    with pytest.raises(ShapeError, match="Sequence 1 was recorded for 3 steps and cannot have 4"):
        rec.annotate(lengths=[4] * 6)
