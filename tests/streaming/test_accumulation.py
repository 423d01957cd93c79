"""Analyzers fed while the model runs give what they give on a recording, and keep no states."""

from __future__ import annotations

import gc
import itertools
import weakref
from dataclasses import dataclass

import pytest
import torch
from classifiers import Classifier, batches
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses import FakeTensorMode

import dynprobe
from dynprobe.errors import (
    DynprobeError,
    NonFiniteStatesError,
    NothingRecordedError,
    PluginError,
    UnknownNameError,
)

STREAMING = ["manifold_dimension", "final_states", "token_pushes", "sampled_states"]


def same(a, b):
    found = dynprobe.testing.leaves.difference(a, b, tolerance=1e-9)
    assert not found, found


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_what_goes_by_gives_the_results_of_a_recording(kind):
    model = Classifier(kind, num_layers=2).eval()
    with dynprobe.attach(model) as whole:
        for batch in batches():
            model(**batch)
    with dynprobe.attach(model) as probe, probe.accumulate(*STREAMING) as running:
        for batch in batches():
            model(**batch)
            assert len(probe._layers["rnn"].calls) <= 1
    expected, report = whole.analyze(STREAMING), running.report()
    assert report.results.keys() == expected.results.keys()
    assert report.skipped == expected.skipped
    for key, result in expected.results.items():
        same(report.results[key], result)
    assert report.views["rnn.l1"].states_seen == expected.views["rnn.l1"].states_seen
    assert report.views["rnn.l1"].accuracy == expected.views["rnn.l1"].accuracy
    assert "participation ratio" in str(report)


def test_what_was_recorded_before_is_there_again_and_the_budget_with_it():
    model = Classifier().eval()
    with dynprobe.attach(model) as probe:
        for batch in batches(2):
            model(**batch)
        before, used = probe.recording().states.clone(), probe._tracer.budget.used
        with probe.accumulate():
            for batch in batches(4):
                model(**batch)
        assert probe._tracer.budget.used == used
        assert torch.equal(probe.recording().states, before)
        model(**next(iter(batches(1))))
        assert len(probe.recording()) == len(before) + 3


def test_a_sequence_continued_over_calls_is_one_sequence():
    model = Classifier().eval()
    ids = torch.randint(0, 11, (4, 9))
    with dynprobe.attach(model) as whole:
        model(ids)
    with dynprobe.attach(model) as probe, probe.accumulate(*STREAMING) as running:
        state = None
        for part in ids.split(2, dim=1):
            _, state = model(part, state=state)
        model(ids)
    one, two = whole.analyze(STREAMING), running.report()
    assert one["final_states"].count == 4
    assert two["final_states"].count == 8
    same(one["final_states"].mean, two["final_states"].mean)
    assert torch.equal(one["token_pushes"].counts * 2, two["token_pushes"].counts)


def test_a_report_in_the_middle_has_the_batch_that_may_go_on_and_counts_it_once():
    model = Classifier().eval()
    with dynprobe.attach(model) as probe, probe.accumulate("final_states") as running:
        with pytest.raises(NothingRecordedError, match="No sequence has gone by"):
            running.report()
        for n, batch in enumerate(batches(3)):
            model(**batch)
            assert running.report()["final_states"].count == [3, 7, 10][n]
    assert running.report()["final_states"].count == 10


def test_two_at_once_each_with_its_own_batches():
    model = Classifier().eval()
    given = list(batches(3))
    with dynprobe.attach(model) as probe, probe.accumulate("final_states") as first:
        model(**given[0])
        with probe.accumulate("final_states") as second:
            model(**given[1])
        model(**given[2])
    assert first.report()["final_states"].count == 10
    assert second.report()["final_states"].count == 4


def test_weights_that_change_between_the_batches():
    """States of lower layers are rebuilt with the weights of their own call, not later ones."""
    model = Classifier(nn.LSTM, num_layers=2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    seen = []
    with dynprobe.attach(model) as probe, probe.accumulate("final_states") as running:
        for batch in batches(3):
            logits, _ = model(**batch)
            nn.functional.cross_entropy(logits, batch["labels"]).backward()
            optimizer.step()
            seen.append(len(batch["labels"]))
    with pytest.warns(UserWarning, match="changed while its states went by"):
        report = running.report()
    assert report["final_states", "rnn.l0"].count == sum(seen)


def test_a_forward_that_raises_counts_for_nothing():
    model = Classifier().eval()
    with dynprobe.attach(model) as probe, probe.accumulate("final_states") as running:
        for batch in batches(2):
            model(**batch)
            with pytest.raises(IndexError):
                model(
                    **{**batch, "input_ids": batch["input_ids"], "lengths": torch.ones(99).long()}
                )
    assert running.report()["final_states"].count == 7


def test_what_is_observed_stays_untouched_and_nothing_of_it_survives():
    model = Classifier().train()
    generator = torch.random.get_rng_state()
    plain = [model(**batch)[0] for batch in batches()]
    with dynprobe.attach(model) as probe:
        running = probe.accumulate()
        watched = [model(**batch)[0] for batch in batches()]
    assert all(torch.equal(a, b) and b.requires_grad for a, b in zip(plain, watched, strict=True))
    assert torch.equal(generator, torch.random.get_rng_state())
    ref = weakref.ref(probe)
    del probe, running
    gc.collect()
    assert ref() is None
    assert not model._forward_hooks


def test_inference_mode_and_autocast():
    model = Classifier(num_layers=2).eval()
    with dynprobe.attach(model) as probe, probe.accumulate("manifold_dimension") as running:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            for batch in batches(2):
                model(**batch)
        report = running.report()
    assert report["manifold_dimension", "rnn.l1"].visited.components.dtype == torch.float64


@pytest.mark.parametrize("store", ["final", dynprobe.Store(every=2)])
def test_stores_that_keep_less(store):
    model = Classifier().eval()
    with dynprobe.attach(model, store=store) as whole:
        for batch in batches():
            model(**batch)
    with (
        dynprobe.attach(model, store=store) as probe,
        probe.accumulate(*STREAMING) as running,
    ):
        for batch in batches():
            model(**batch)
    expected, report = whole.analyze(STREAMING), running.report()
    assert report.skipped == expected.skipped
    assert report.failures.keys() == expected.failures.keys()
    for key, result in expected.results.items():
        same(report.results[key], result)


@dataclass(frozen=True)
class Count:
    n: int


class Failing(dynprobe.StreamingAnalyzer):
    name = "failing"

    def init(self, meta):
        return 0

    def update(self, acc, chunk):
        if acc > 5:
            raise ValueError("enough")
        return acc + len(chunk)

    def merge(self, a, b):
        return a + b

    def finalize(self, acc, ctx):
        return Count(acc)


class TestTrouble:
    def test_an_analyzer_that_fails_costs_only_itself(self):
        model = Classifier().eval()
        with dynprobe.attach(model) as probe:
            with probe.accumulate(Failing, "final_states") as running:
                for batch in batches(4):
                    model(**batch)
        report = running.report()
        assert "ValueError: enough" in str(report.failures["failing", "rnn"])
        assert "update" in report.failures["failing", "rnn"].traceback
        assert report["final_states"].count == 14

    def test_what_is_missing_is_skipped(self):
        gru = nn.GRU(3, 4, batch_first=True)
        with dynprobe.attach(gru) as probe, probe.accumulate(*STREAMING) as running:
            gru(torch.randn(2, 5, 3))
        report = running.report()
        assert report.skipped["token_pushes", "gru"] == "needs the tokens"
        with pytest.raises(DynprobeError, match="skipped"):
            report["token_pushes"]

    def test_a_result_that_another_needs_has_to_be_fed_too(self):
        gru = nn.GRU(3, 4, batch_first=True)
        with dynprobe.attach(gru) as probe:
            with probe.accumulate("dimension_scale") as alone, probe.accumulate() as running:
                gru(torch.randn(30, 5, 3))
        why = alone.report().skipped["dimension_scale", "gru"]
        assert why == "needs the result of 'manifold_dimension', which was not fed: name it too"
        assert running.report()["dimension_scale"].linear.count == 150

    def test_states_that_are_not_finite(self):
        gru = nn.GRU(3, 4, batch_first=True)
        with dynprobe.attach(gru) as probe, probe.accumulate() as running:
            gru(torch.full((1, 2, 3), torch.nan))
            gru(torch.randn(2, 5, 3))  # the model runs on
        with pytest.raises(NonFiniteStatesError, match="NaN or Inf"):
            running.report()

    def test_analyzers_that_need_all_states_at_once(self):
        with dynprobe.attach(nn.GRU(3, 4)) as probe:
            with pytest.raises(PluginError, match="'fixed_points' needs all states at once"):
                probe.accumulate("fixed_points")
            with pytest.raises(UnknownNameError):
                probe.accumulate("nothing")
            with pytest.raises(UnknownNameError):
                probe.accumulate(layers="nothing")

    def test_a_layer_that_never_ran_is_unused(self):
        model = nn.ModuleDict({"a": nn.GRU(3, 4), "b": nn.GRU(3, 4)})
        with dynprobe.attach(model) as probe, probe.accumulate("final_states") as running:
            model["a"](torch.randn(5, 2, 3))
        report = running.report()
        assert report.unused == ["b"]
        assert report["final_states"].count == 2

    def test_clear_ends_the_batch_that_may_go_on_and_loses_nothing(self):
        gru = nn.GRU(3, 4, batch_first=True)
        with dynprobe.attach(gru) as probe, probe.accumulate("final_states") as running:
            gru(torch.randn(2, 5, 3))
            probe.clear()
            gru(torch.randn(3, 5, 3))
        assert running.report()["final_states"].count == 5


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 24), max_size=4),
    analyzer=st.sampled_from(["token_pushes", "final_states"]),
)
def test_however_a_run_is_cut_the_result_is_the_same(cuts, analyzer):
    rec = dynprobe.testing.samples.word_gru().recording
    cls = dynprobe.analyzers.registry.find_analyzer(analyzer)
    edges = [0, *sorted(cuts), len(rec)]
    acc = cls().init(rec.meta)
    for a, b in itertools.pairwise(edges):
        acc = cls().merge(cls().update(cls().init(rec.meta), rec[a:b]), acc)
    ctx = dynprobe.testing.running.run(cls, dynprobe.testing.samples.Sample(rec))
    replay = dynprobe.analyzers.finalized.Finalized(cls(), lambda _: acc)
    same(
        dynprobe.testing.running.run(replay, dynprobe.testing.samples.Sample(rec)),
        ctx,
    )


def held() -> int:
    """Bytes of all tensors alive that have data; compiled models leave some that have none."""
    gc.collect()
    alive = [x for x in gc.get_objects() if type(x) in (torch.Tensor, nn.Parameter)]
    storages = {s._cdata: s.nbytes() for s in (x.untyped_storage() for x in alive)}
    return sum(storages.values())


def test_what_is_held_counts_a_storage_once_and_no_tensor_without_data():
    before = held()
    x = torch.zeros(1000)
    parts = x[:10], x[10:]
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
    assert held() == before + 4000
    del x, parts, fake
    assert held() == before


def test_memory_does_not_grow_from_ten_thousand_tokens_to_a_million():
    gru = nn.GRU(2, 4, batch_first=True).eval()
    x = torch.randn(100, 100, 2)
    with torch.no_grad(), dynprobe.attach(gru) as probe, probe.accumulate() as running:
        for calls in range(100):
            gru(x)
            if calls == 1:
                before, used = held(), probe._tracer.budget.used
        assert held() <= before + 100_000  # samples that were not full; a batch has 160,000
        assert probe._tracer.budget.used == used
    assert running.report()["manifold_dimension"].visited.count == 1_000_000
