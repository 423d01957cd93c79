"""Predictors and controls on an integrator whose answers are known: it counts words."""

from __future__ import annotations

import math

import pytest
import torch

import dynprobe
from dynprobe.analyzers.bag_of_words import BagOfWords
from dynprobe.analyzers.components_accuracy import ComponentsAccuracy
from dynprobe.analyzers.order_shuffle import OrderShuffle
from dynprobe.analyzers.word_counts import WordCounts
from dynprobe.readout import Readout
from dynprobe.tasks import categorical

WIDTH = 12


def counter(*, n=300, leak=0.0, labels=True, min_length=None):
    """States that add up the words of three classes in a plane of R^12, with a plane readout."""
    task = categorical(3, 20, min_length)
    batch = task.sample(n, seed=0)
    corner = torch.tensor([[math.cos(a), math.sin(a)] for a in (0.0, 2.0944, 4.1888)]).double()
    basis, _ = torch.linalg.qr(
        torch.randn(WIDTH, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )
    pushes = torch.zeros(len(task.vocabulary), WIDTH, dtype=torch.float64)
    first = task.vocabulary.index("A")
    pushes[first : first + 3] = corner @ basis.T
    inputs = pushes[batch.tokens]

    def step(s, x):
        return (1 - leak) * s + x

    recurrence = dynprobe.as_recurrence(step, state_dim=WIDTH, input_dim=WIDTH)
    start = torch.zeros(n, WIDTH, dtype=torch.float64)
    rec = dynprobe.Recording.from_arrays(
        recurrence.rollout(start, inputs),
        inputs=inputs,
        lengths=batch.lengths,
        tokens=batch.tokens,
        labels=batch.labels if labels else None,
    )
    rec.readout = Readout(corner @ basis.T)
    return rec, recurrence, task


def run(analyzer, **changes):
    rec, recurrence, task = counter(**changes)
    report = dynprobe.analyze(rec, ["manifold_dimension", analyzer], recurrence=recurrence)
    assert not report.failures, report.failures
    return report[analyzer if isinstance(analyzer, str) else analyzer.name], rec, task


def test_readouts_of_a_triangle():
    found, *_ = run("readout_geometry")
    assert found.angle == pytest.approx(120, abs=1e-3)
    assert found.common == pytest.approx(0, abs=1e-8)
    torch.testing.assert_close(found.geometry.norm_in_span, torch.ones(3).double())
    assert found.expected == pytest.approx(120)
    # random directions of R^12: one pair in twenty lies below, one above
    assert 55 < found.random_low < 70
    assert 110 < found.random_high < 125


def test_one_readout_has_no_angle():
    rec, recurrence, _ = counter()
    rec.readout = Readout(torch.ones(1, WIDTH))
    report = dynprobe.analyze(rec, "readout_geometry", recurrence=recurrence)
    assert "angles need at least two" in str(report.failures["readout_geometry", rec.layer])


def test_two_components_are_enough_for_a_plane():
    found, rec, _ = run("components_accuracy")
    assert found.dims.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 12]
    assert found.needed == 2
    assert found.accuracy[0] == pytest.approx(1 / 3, abs=0.02)
    assert found.accuracy[1] < 0.9
    torch.testing.assert_close(found.accuracy[2:], torch.ones(8).double())
    torch.testing.assert_close(found.agreement[2:], torch.ones(8).double())


def test_without_labels_agreement_stands_in():
    found, *_ = run("components_accuracy", labels=False)
    assert found.accuracy is None
    assert found.needed == 2
    few, *_ = run(ComponentsAccuracy(n_small=1))
    assert few.dims.tolist() == [0, 1, 2, 4, 8, 12]


@pytest.mark.parametrize("min_length", [None, 5])
def test_order_means_nothing_to_a_sum_and_something_to_a_leaky_one(min_length):
    found, *_ = run("order_shuffle", min_length=min_length)
    assert found.unchanged == 1
    assert found.state_change < 1e-12
    assert found.accuracy == found.accuracy_shuffled == 1
    leaky, *_ = run(OrderShuffle(n_sequences=200), leak=0.3, min_length=min_length)
    assert leaky.n_sequences == 200
    assert leaky.unchanged < 0.95
    assert leaky.state_change > 0.2


def test_word_counts_predict_two_dimensions_and_shuffled_labels_none():
    found, rec, _ = run("word_counts")
    assert found.n_significant == 2
    assert found.spectrum.participation_ratio == pytest.approx(2, abs=0.1)
    assert found.variance > 20
    rec.annotate(labels=rec.labels[torch.randperm(300)])
    none = dynprobe.analyze(rec, WordCounts(n_nulls=50))["word_counts"]
    assert none.n_significant == 0
    assert none.variance < 4


def test_a_bag_of_words_pushes_as_the_counter_does():
    found, rec, _ = run("bag_of_words", n=600)
    assert found.accuracy > 0.9
    assert found.agreement > 0.99
    assert found.n_words == 4
    assert found.spectrum.n_components_95 == 2
    rows = dict(found.summary())
    assert "° apart over 4 words" in rows["pushes of words, network and bag of words"]
    rec.readout = None
    alone = dynprobe.analyze(rec, BagOfWords())["bag_of_words"]
    assert alone.n_words == 0
    assert math.isnan(alone.agreement)


def test_rare_and_unused_words_take_no_part_in_the_comparison():
    rec, recurrence, _ = counter()
    tokens = rec.tokens.clone()
    tokens[0, :3] = torch.tensor([5, 7, 7])  # of a vocabulary in which 4 and 6 never occur
    rec.annotate(tokens=tokens)
    found = dynprobe.analyze(rec, "bag_of_words", recurrence=recurrence)["bag_of_words"]
    assert found.n_words == 4
    assert found.agreement > 0.95
    assert found.spectrum.n_components_95 == 2


def test_several_labels_at_once():
    rec, recurrence, task = counter()
    counts = torch.stack([(rec.tokens == k).sum(1) for k in range(2)], dim=1)
    rec = dynprobe.Recording.from_arrays(
        rec.states, inputs=rec.inputs, tokens=rec.tokens, labels=counts >= 5
    )
    names = ["word_counts", "bag_of_words"]
    report = dynprobe.analyze(rec, names, recurrence=recurrence)
    assert report["word_counts"].n_significant == 2
    assert report["bag_of_words"].accuracy > 0.7
    assert report["bag_of_words"].spectrum.n_components_95 == 2


def test_what_is_missing_is_named():
    rec, _, _ = counter(labels=False)
    report = dynprobe.analyze(rec, ["word_counts", "order_shuffle"])
    assert "needs the labels" in report.skipped["word_counts", rec.layer]
    assert "needs the recurrence" in report.skipped["order_shuffle", rec.layer]
    for cls, wrong in (
        (ComponentsAccuracy, {"n_small": 0}),
        (OrderShuffle, {"n_sequences": 0}),
        (WordCounts, {"n_nulls": 0}),
        (BagOfWords, {"regularisation": 0}),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            cls(**wrong)


def test_classes_that_do_not_occur_are_left_out():
    rec, _, _ = counter()
    rec.annotate(labels=2 * rec.labels)  # 0, 2, 4 of five
    assert dynprobe.analyze(rec, "word_counts")["word_counts"].n_significant == 2
    rec.annotate(labels=torch.zeros(300, dtype=torch.int64))
    failures = dynprobe.analyze(rec, "word_counts").failures
    assert "the same label" in str(failures["word_counts", rec.layer])


def test_labels_that_do_not_fit_are_named():
    rec, recurrence, _ = counter()
    per_token = torch.zeros(300, 20, dtype=torch.int64)
    for wrong, why in (
        (rec.labels - 1, "a label is -1"),
        (torch.rand(300), "needed are whole numbers"),
        (per_token + 3, "a label is 3"),
    ):
        rec.annotate(labels=wrong)
        report = dynprobe.analyze(rec, ["word_counts", "bag_of_words"], recurrence=recurrence)
        for name in ("word_counts", "bag_of_words"):
            assert why in str(report.failures[name, rec.layer])


def test_a_bag_of_words_where_classes_are_missing_or_small():
    rec, recurrence, _ = counter()
    two = rec[rec.labels < 2]
    two.readout = rec.readout
    report = dynprobe.analyze(two, "bag_of_words", recurrence=recurrence)
    assert report["bag_of_words"].spectrum.n_components_95 == 1
    assert report["bag_of_words"].agreement > 0.5  # beside a readout of three classes
    few = rec[torch.tensor([int((rec.labels == k).nonzero()[0]) for k in range(3)])]
    few.readout = rec.readout
    found = dynprobe.analyze(few, "bag_of_words", recurrence=recurrence)["bag_of_words"]
    assert math.isnan(found.accuracy)  # no third can be held out
    one = rec[rec.labels == 1]
    failures = dynprobe.analyze(one, "bag_of_words", recurrence=recurrence).failures
    assert "the same label" in str(failures["bag_of_words", one.layer])


def test_a_word_alone_has_no_order():
    rec, recurrence, _ = counter()
    short = dynprobe.Recording.from_arrays(rec.states[:, :1], inputs=rec.inputs[:, :1])
    short.readout = rec.readout
    report = dynprobe.analyze(short, "order_shuffle", recurrence=recurrence)
    assert "two inputs" in str(report.failures["order_shuffle", short.layer])
