"""The words of a verdict follow from numbers by the rules of docs/comparing.md."""

from __future__ import annotations

import pytest
import torch

from dynprobe.comparison.mechanism import Mechanism
from dynprobe.comparison.verdict import answers, geometry, mechanism, unlearned, verdict
from dynprobe.dynamics.pushes import Attraction, Response
from dynprobe.report.comparison import MODEL, STREAM, Cell, Dimension, Finding, Row, Similarity


def row(measure, **values):
    return Row(MODEL, measure, {n: Cell(f"{v:.3f}", v) for n, v in values.items()})


def similarity(cka):
    two = torch.tensor([[1.0, cka], [cka, 1.0]], dtype=torch.float64)
    return Similarity(("a", "b"), two, torch.zeros_like(two), torch.zeros_like(two), 100)


def dimensions(a, b):
    shares = torch.tensor([0.5, 0.5], dtype=torch.float64)
    return {n: Dimension(STREAM, shares, pr, 2) for n, pr in (("a", a), ("b", b))}


@pytest.mark.parametrize(
    ("agree", "answer"), [(0.96, "yes"), (0.95, "yes"), (0.9, "in part"), (0.7, "no")]
)
def test_answers(agree, answer):
    found = answers(
        row("accuracy", a=0.9, b=0.8), row("same", a=1.0, b=agree), 0.33, "600 sequences"
    )
    assert found.answer == answer
    assert f"{100 * agree:.1f} %" in found.sentence
    assert "b 0.800" in found.sentence


def test_answers_without_logits():
    lacking = Row(MODEL, "same", {"a": Cell("1", 1.0), "b": Cell("none", missing=True)})
    assert (
        answers(row("accuracy", a=1, b=1), lacking, 0.5, "5 sequences").answer == "cannot be told"
    )


def test_half_of_the_way_from_chance_is_learned():
    assert unlearned(row("accuracy", a=0.76, b=0.74), 0.5) == ["b"]
    assert unlearned(row("accuracy", a=0.1), None) == []


@pytest.mark.parametrize(
    ("cka", "ratios", "answer"),
    [
        (0.95, (2.0, 2.4), "yes"),
        (0.95, (2.0, 3.0), "in part"),
        (0.95, (2.0, float("nan")), "in part"),
        (0.7, (2.0, 2.0), "in part"),
        (0.3, (2.0, 2.0), "no"),
    ],
)
def test_geometry(cka, ratios, answer):
    found = geometry(similarity(cka), dimensions(*ratios))
    assert found.answer == answer
    assert f"{cka:.2f}" in found.sentence


def test_an_unknown_stream_is_named():
    found = geometry(None, dimensions(2.0, 2.0) | {"c": "not recorded"})
    assert found.answer == "cannot be told"
    assert "of c" in found.sentence


def test_a_mechanism_that_could_not_be_pushed():
    found = mechanism({"a": "broken", "b": "broken"}, 50)
    assert found.answer == "cannot be told"
    assert "a, b" in found.sentence


def mechanisms(**found):
    """Name -> (moduli of the eigenvalues of an affine map or None, what is left of a push)."""
    made = {}
    for name, (eigenvalues, left) in found.items():
        off = torch.tensor([[1.0, left]] * 3)
        response = Response(off, torch.zeros_like(off), True, torch.arange(3))
        push = Attraction(response, None, 0.1, 1.0, torch.full((3,), 2))
        values = None if eigenvalues is None else torch.tensor(eigenvalues)
        made[name] = Mechanism(values, "none", "none", push, 2)
    return made


@pytest.mark.parametrize(
    ("a", "b", "answer", "sentence"),
    [
        ((None, 0.1), (None, 0.4), "yes", "b 40 % is left (it is pulled back)"),
        ((None, 0.1), (None, 0.8), "no", "b 80 % is left (it stays)"),
        ((None, 0.1), ([0.9, 0.5], 0.4), "in part", "b 40 % is left (it is forgotten"),
        ((None, 0.1), ([1.0, 1.0], 1.0), "no", "it only adds up"),
        (([0.8, 0.5], 0.3), ([0.9, 0.5], 0.4), "yes", "a 30 % is left (it is forgotten"),
    ],
)
def test_the_mechanism_is_the_fate_of_a_push_and_the_sort_of_map(a, b, answer, sentence):
    found = mechanism(mechanisms(a=a, b=b), 50)
    assert found.answer == answer
    assert sentence in found.sentence


@pytest.mark.parametrize(
    ("said", "start"),
    [
        (("yes", "yes", "yes"), "Yes, as far as"),
        (("yes", "in part", "no"), "Only in part: same answers, partly the same geometry"),
        (("in part", "no", "no"), "No: mostly the same answers, another geometry"),
        (("no", "yes", "yes"), "No: they do not even give the same answers"),
        (("yes", "cannot be told", "yes"), "Cannot be told in full"),
    ],
)
def test_verdict(said, start):
    findings = [Finding("?", answer, "") for answer in said]
    assert verdict(findings, []).startswith(start)
    assert verdict(findings, ["b"]) == "Cannot be told: b has not learned the task."
