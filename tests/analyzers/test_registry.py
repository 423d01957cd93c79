"""Analyzers by name, and what happens when one does not behave."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import dynprobe
from dynprobe import Recording
from dynprobe.analyzers.registry import unregister_analyzer
from dynprobe.errors import AmbiguousNameError, DynprobeError, PluginError, UnknownNameError


@dataclass(frozen=True)
class Count:
    states: int


class Counter(dynprobe.Analyzer):
    def analyze(self, ctx):
        return Count(len(ctx.recording.flat()))


class Raises(dynprobe.Analyzer):
    name = "raises"

    def analyze(self, ctx):
        raise ZeroDivisionError("my plugin's own bug")


class Asks(dynprobe.Analyzer):
    name = "asks"

    def __init__(self, other="counter"):
        self.other = other

    def analyze(self, ctx):
        return ctx.result(self.other)


@pytest.fixture
def counter():
    cls = dynprobe.register_analyzer("counter")(type("Counter", (Counter,), {}))
    yield cls
    unregister_analyzer("counter")


REC = Recording.from_arrays(torch.randn(4, 5, 3))


def test_a_registered_analyzer_runs_by_name_class_and_instance(counter):
    for choice in ("counter", ["counter"], [counter], [counter()]):
        assert dynprobe.analyze(REC, choice)["counter"].states == 20


def test_it_does_not_run_unasked(counter):
    assert "counter" not in dynprobe.analyze(REC)


def test_a_taken_name_is_refused_and_override_replaces(counter):
    for name in ("counter", "manifold_dimension"):
        with pytest.raises(PluginError, match="exists already"):
            dynprobe.register_analyzer(name)(Counter)
    replaced = dynprobe.register_analyzer("counter", override=True)(type("C", (Counter,), {}))
    assert replaced is not counter


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (int, "not a subclass of dynprobe.Analyzer"),
        (type("Old", (Counter,), {"api": 0}), "written for api 0"),
        (type("Odd", (Counter,), {"requires": frozenset({"spikes"})}), r"requires \['spikes'\]"),
    ],
)
def test_the_contract_is_checked(cls, message):
    with pytest.raises(PluginError, match=message):
        dynprobe.register_analyzer("contract")(cls)


def test_unknown_analyzer_lists_near_matches():
    with pytest.raises(UnknownNameError, match="Did you mean 'fixed_points'"):
        dynprobe.analyze(REC, "fixed_point")


def test_a_failing_analyzer_does_not_take_the_others_down():
    report = dynprobe.analyze(REC, [Raises, "manifold_dimension"])
    assert report["manifold_dimension"].visited.count == 20
    failure = report.failures["raises", "states"]
    assert "my plugin's own bug" in str(failure)
    assert "ZeroDivisionError" in failure.traceback
    assert "raise ZeroDivisionError" in failure.traceback
    with pytest.raises(DynprobeError, match="failed on 'states'") as raised:
        report["raises"]
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert "my plugin's own bug" in " ".join(str(report).split())


def test_results_of_others_are_computed_once(counter):
    calls = []

    class Slow(counter):
        name = "slow"

        def analyze(self, ctx):
            calls.append(1)
            return super().analyze(ctx)

    report = dynprobe.analyze(REC, [Asks("slow"), Slow])
    assert report["asks"].states == 20
    assert len(calls) == 1


def test_asking_for_each_other_in_a_circle():
    report = dynprobe.analyze(REC, [Asks("asks")])
    assert "asks -> asks" in str(report.failures["asks", "states"])


def test_requirements_that_are_not_met():
    class Needs(Counter):
        name = "needs"
        requires = frozenset({"tokens", "labels", "readout"})

    report = dynprobe.analyze(REC, [Needs])
    why = report.skipped["needs", "states"]
    assert "needs the tokens" in why
    assert "needs the labels" in why
    assert "needs the readout (the recording has none)" in why


def test_a_streaming_analyzer_of_the_users_own():
    class Largest(dynprobe.StreamingAnalyzer):
        name = "largest"

        def init(self, meta):
            return torch.full((meta.layout.size,), -torch.inf)

        def update(self, acc, chunk):
            return torch.maximum(acc, chunk.flat().amax(0))

        def merge(self, a, b):
            return torch.maximum(a, b)

        def finalize(self, acc, ctx):
            return Count(int((acc > 0).sum()))

    big = Recording.from_arrays(torch.randn(600, 2, 3))  # more than one batch
    assert dynprobe.analyze(big, [Largest])["largest"].states == 3


def test_an_interrupt_keeps_the_results_so_far():
    class Stop(Counter):
        name = "stop"

        def analyze(self, ctx):
            raise KeyboardInterrupt

    report = dynprobe.analyze(REC, ["manifold_dimension", Stop, Raises])
    assert report.interrupted
    assert report["manifold_dimension"].visited.count == 20
    assert report.skipped["raises", "states"] == "interrupted before it ran"


def test_several_layers_and_names():
    model = torch.nn.GRU(3, 4, 2, batch_first=True)
    with dynprobe.attach(model) as probe:
        model(torch.randn(5, 6, 3))
    report = probe.analyze("manifold_dimension")
    assert report.layers == ["gru.l0", "gru.l1"]
    assert report["manifold_dimension", "gru.l1"].visited.count == 30
    with pytest.raises(AmbiguousNameError, match=r"report\['manifold_dimension', 'gru\.l1'\]"):
        report["manifold_dimension"]
    with pytest.raises(UnknownNameError, match="was not run"):
        report["fixed_points"]
    with pytest.raises(UnknownNameError, match="not run on a layer 'gru'"):
        report["manifold_dimension", "gru"]
    assert probe.analyze("manifold_dimension", layers="gru.l0").layers == ["gru.l0"]


def test_progress_is_reported():
    seen = []
    model = torch.nn.GRU(3, 4, batch_first=True)
    with dynprobe.attach(model) as probe:
        model(torch.randn(5, 6, 3))
    probe.analyze("fixed_points", progress=lambda *a: seen.append(a))
    assert seen[-1] == ("fixed_points", "gru", 30, 30)


def test_a_report_is_saved_as_what_its_suffix_says(tmp_path):
    report = dynprobe.analyze(REC, "manifold_dimension")
    assert report.save(tmp_path / "r.json").read_text().startswith("{")
    with pytest.raises(ValueError, match=r"suffix '\.pdf'"):
        report.save(tmp_path / "r.pdf")
