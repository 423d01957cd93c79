"""What is kept of states and sequences: bounded, drawn with a seed, and what it says it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from report_samples import classifier_report, seeded

import dynprobe
from dynprobe.readout import Readout
from dynprobe.report.classes import UNKNOWN, classes_of
from dynprobe.report.courses import EACH, MAX_PUSHED, MAX_STEPS, choose
from dynprobe.report.palette import MAX_COLOURS, Palette
from dynprobe.report.sample import MAX_FINAL, Sample
from dynprobe.report.view import MAX_POINTS, View, view_of

W = torch.tensor([[1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, 0.0], [-1.0, -1.0, 0.5, 0.0]])


def recording(n: int = 6, time: int = 9, **what: Any) -> dynprobe.Recording:
    states = torch.randn(n, time, 4, generator=seeded(0)).cumsum(1)
    return dynprobe.Recording.from_arrays(states, layer="rnn", **what)


def view(rec: dynprobe.Recording, readout: Readout | str = "the recording has none") -> View:
    return view_of(rec, readout, seed=0)


def sample(rec: dynprobe.Recording, readout: Readout | str = "none") -> Sample:
    found = view(rec, readout).sample
    assert found is not None
    return found


def test_pushes_add_up_to_the_logits() -> None:
    initial = torch.randn(6, 4, generator=seeded(1))
    rec = recording(initial=initial)
    readout = Readout(W, torch.tensor([0.1, 0.2, 0.3]))
    found = sample(rec, readout)
    assert len(found.courses) == 6
    for course in found.courses:
        assert course.push is not None
        start = readout(initial[course.row].double())
        end = readout(rec.final[course.row].double())
        torch.testing.assert_close(course.push.sum(0), end - start)
        assert len(course.path) == 10
        assert course.from_start
    # the first step by hand: W (s_1 - s_0)
    by_hand = (rec.states[2, 0] - initial[2]).double() @ W.double().T
    torch.testing.assert_close(found.courses[2].push[0], by_hand)


def test_a_push_from_an_unknown_state_is_unknown() -> None:
    found = sample(recording(), Readout(W))
    push = found.courses[0].push
    assert push is not None
    assert push[0].isnan().all()
    assert not push[1:].isnan().any()
    assert not found.courses[0].from_start


def test_states_are_where_they_say() -> None:
    tokens = torch.randint(5, (40, 200), generator=seeded(2))
    lengths = torch.randint(1, 201, (40,), generator=seeded(3))
    rec = recording(40, 200, tokens=tokens, lengths=lengths, labels=torch.arange(40) % 3)
    shown = view(rec, Readout(W))
    marks = shown.sample.visited  # type: ignore[union-attr]
    assert len(marks.points) == min(MAX_POINTS, int(lengths.sum()))
    there = rec.states[marks.sequence, marks.step - 1]
    torch.testing.assert_close(shown.project(there), marks.points)
    torch.testing.assert_close(shown.points, marks.points)
    torch.testing.assert_close(marks.token, tokens[marks.sequence, marks.step - 1])
    torch.testing.assert_close(marks.label, marks.sequence % 3)
    torch.testing.assert_close(marks.predicted, (there @ W.T).argmax(1))
    # the draw is that of the recording, without replacement
    drawn = rec.sample(len(marks.points), seed=0)
    torch.testing.assert_close(there, drawn)
    place = marks.sequence * 200 + marks.step
    assert len(place.unique()) == len(place)


def test_what_is_kept_is_bounded() -> None:
    rec = recording(3000, MAX_STEPS + 7, tokens=torch.zeros(3000, MAX_STEPS + 7).long())
    found = sample(rec, Readout(torch.randn(50, 4, generator=seeded(4))))
    assert len(found.visited.points) == MAX_POINTS
    assert len(found.final.points) == MAX_FINAL
    assert found.sequences_seen == 3000
    assert len(found.courses) <= 4 * EACH
    for course in found.courses:
        assert course.length == MAX_STEPS + 7
        assert len(course.path) == MAX_STEPS
        assert course.push is not None
        assert course.push.shape == (MAX_STEPS, MAX_PUSHED)


@given(n=st.integers(1, 300), seed=st.integers(0, 5), judged=st.booleans())
def test_sequences_are_chosen_by_what_the_page_says(n: int, seed: int, judged: bool) -> None:
    lengths = torch.randint(0, 30, (n,), generator=seeded(seed))
    labels, predicted = torch.randint(3, (2, n), generator=seeded(seed + 1))
    confidence = torch.rand(n, generator=seeded(seed + 2))
    known = (labels, predicted, confidence) if judged else (None, None, None)
    rows = choose(lengths, *known, seed)
    assert rows == sorted(set(rows))
    assert rows == choose(lengths, *known, seed)
    assert all(lengths[i] > 0 for i in rows)
    holding = int((lengths > 0).sum())
    if holding <= 4 * EACH:
        assert len(rows) == holding
        return
    assert EACH <= len(rows) <= 4 * EACH
    left = torch.ones(n).bool()
    left[rows] = False
    assert int(lengths[left].max()) <= int(lengths[rows].max())
    if judged:
        wrong = (labels != predicted) & (lengths > 0)
        surest = confidence.where(wrong, torch.tensor(-1.0)).argmax()
        assert int(surest) in rows


def test_why_there_are_no_pushes() -> None:
    assert sample(recording(), "the readout is an MLP").pushes.problem == "the readout is an MLP"
    assert sample(recording(), Readout(W)).pushes.problem == ""


def test_every_third_state_tells_of_no_single_step() -> None:
    model = torch.nn.GRU(3, 4, batch_first=True)
    store = dynprobe.Store(every=3)
    with torch.no_grad(), dynprobe.attach(model, readout=(W, None), store=store) as probe:
        model(torch.randn(4, 12, 3, generator=seeded(1)))
    found = probe.analyze("manifold_dimension").views["gru"].sample
    assert found is not None
    assert "not every step" in found.pushes.problem
    assert found.visited.step.unique().tolist() == [3, 6, 9, 12]


def test_one_logit_tells_two_classes_apart() -> None:
    rec = recording(classes=["ham", "spam"], labels=torch.tensor([0, 1, 0, 1, 0, 1]))
    found = sample(rec, Readout(W[:1]))
    assert found.classes.names == ("ham", "spam")
    assert found.logits == ("spam",)
    final = (rec.final @ W[:1].T)[:, 0]
    assert [c.predicted for c in found.courses] == (final > 0).long().tolist()
    expected = torch.sigmoid(final.abs().double()).tolist()
    assert [c.confidence for c in found.courses] == pytest.approx(expected)


def test_labels_at_once_have_a_class_for_each_combination() -> None:
    labels = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
    rec = recording(4, labels=labels, classes=["hot", "wet"])
    classes = classes_of(rec, 2)
    assert classes.names == ("none", "hot", "wet", "hot + wet")
    assert classes.labels is not None
    assert classes.labels.tolist() == [0, 1, 2, 3]
    logits = torch.tensor([[-1.0, 3.0], [2.0, 2.0]])
    assert classes.answers(logits).tolist() == [2, 3]
    p = torch.sigmoid(logits.abs())
    torch.testing.assert_close(classes.confidence(logits), p[:, 0] * p[:, 1])


def test_too_many_labels_at_once_are_not_told_apart() -> None:
    rec = recording(4, labels=torch.randint(2, (4, 6), generator=seeded(0)))
    found = sample(rec, Readout(torch.randn(6, 4, generator=seeded(1))))
    assert "too many combinations" in found.classes.problem
    assert found.visited.predicted is None
    assert all(c.label == c.predicted == UNKNOWN for c in found.courses)


def test_confidence_is_the_largest_probability() -> None:
    logits = torch.randn(5, 4, generator=seeded(0))
    classes = classes_of(recording(5), 4)
    torch.testing.assert_close(classes.confidence(logits), logits.softmax(1).amax(1))


def test_labels_that_do_not_fit_have_a_reason() -> None:
    found = sample(recording(labels=torch.rand(6, generator=seeded(0))), Readout(W))
    assert found.visited.label is None
    assert found.classes.problem
    unknown = sample(recording(labels=torch.tensor([0, 1, -100, 2, 1, 0])), Readout(W))
    assert [c.label for c in unknown.courses] == [0, 1, UNKNOWN, 2, 1, 0]


def test_rare_classes_share_a_colour() -> None:
    names = [f"c{i}" for i in range(40)]
    used = torch.tensor([39] * 5 + [7] * 4 + list(range(30)))
    palette = Palette.of(names, used)
    assert len(palette.names) == len(palette.colours) == MAX_COLOURS
    assert len(set(palette.colours)) == MAX_COLOURS
    assert "c39" in palette.names
    assert palette.names[-1] == f"other ({40 - MAX_COLOURS + 1} classes)"
    places = palette.places(torch.tensor([39, 35, -1]))
    assert places is not None
    assert palette.names[places[0]] == "c39"
    assert places[1:] == [MAX_COLOURS - 1, UNKNOWN]
    few = Palette.of(names[:3], None)
    assert few.names == ["c0", "c1", "c2"]


def test_only_words_that_occur_are_kept() -> None:
    vocabulary = [f"w{i}" for i in range(1000)]
    tokens = torch.randint(5, 9, (6, 9), generator=seeded(2))
    found = sample(recording(tokens=tokens, vocabulary=vocabulary))
    assert found.words == {i: f"w{i}" for i in range(5, 9)}
    assert sample(recording(tokens=tokens, vocabulary=vocabulary[:6])).words == {5: "w5"}


def test_it_changes_no_numbers() -> None:
    report = classifier_report(4, ["A", "B", "C"], ["a", "b", "c", "d"])
    before = report.to_dict()
    for found in report.views.values():
        object.__setattr__(found, "sample", None)
    assert report.to_dict() == before
    assert "'sample':" not in str(before)
