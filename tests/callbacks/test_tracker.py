"""A tracked training is the same training, and what is measured is what an analysis finds."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from noisy_training import Noisy, batch, seeded
from torch import nn

import dynprobe
from dynprobe.callbacks import Tracker
from dynprobe.callbacks.sharding import unwrapped
from dynprobe.callbacks.undisturbed import undisturbed
from dynprobe.errors import (
    NoRecurrenceError,
    ParameterError,
    TrackingWarning,
    UnknownNameError,
)
from dynprobe.nn import LinearTransformerConfig
from dynprobe.testing.untouched import changed, of_module

FIXED, LABELS = batch()


def train(steps=6, every=None, **options):
    """Everything that is left of a training, tracked or not."""
    model = seeded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tracker = every and Tracker(model, FIXED, labels=LABELS, every=every, **options)
    losses = []
    for step in range(steps):
        tokens, labels = batch(16, seed=step)
        loss = nn.functional.cross_entropy(model(tokens), labels)
        optimizer.zero_grad()
        loss.backward()
        if tracker:
            tracker.step(step)  # gradients are there, the optimizer has yet to step
        optimizer.step()
        losses.append(loss.item())
    left = of_module(model) | {
        "losses": tuple(losses),
        "moments": tuple(v for s in optimizer.state.values() for v in s.values()),
        "torch": torch.get_rng_state(),
        "numpy": torch.as_tensor(np.random.get_state()[1].astype(np.int64)),
        "python": random.getstate(),
    }
    return left, tracker


def test_a_tracked_training_is_the_same_bit_for_bit():
    plain, _ = train()
    tracked, tracker = train(every=2)
    assert changed(plain, tracked) == []
    assert [seen.step for seen in tracker.history] == [0, 2, 4]
    assert not any(seen.failures for seen in tracker.history)


def test_it_measures_what_an_analysis_finds():
    model = seeded().eval()
    values = Tracker(model, FIXED, labels=LABELS).step()
    with dynprobe.attach(model) as probe, torch.no_grad():
        logits = model(FIXED)
    probe.recording().annotate(labels=LABELS)
    report = probe.analyze(["manifold_dimension", "readout_geometry"])
    cloud = report["manifold_dimension"]
    assert values["dynprobe/gru/participation_ratio"] == pytest.approx(cloud.participation_ratio)
    assert values["dynprobe/gru/components_95"] == cloud.components_95
    angles = report["readout_geometry"].geometry.pair_angles
    assert values["dynprobe/gru/readout_angle_min"] == pytest.approx(float(angles.min()))
    assert values["dynprobe/gru/readout_angle_max"] == pytest.approx(float(angles.max()))
    assert values["dynprobe/accuracy"] == pytest.approx(
        float((logits.argmax(1) == LABELS).double().mean())
    )
    assert {"longest_time_constant", "integrating_modes", "fixed_seeds", "slow_seeds"} <= {
        name.rsplit("/", 1)[1] for name in values
    }
    assert values["dynprobe/seconds"] > 0


def test_the_longest_time_constant_is_that_of_a_known_map():
    rnn = nn.RNN(2, 2, batch_first=True, bias=False)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(torch.diag(torch.tensor([0.9, 0.5])))
    values = Tracker(rnn, 1e-3 * torch.randn(20, 30, 2)).step()
    assert values["dynprobe/rnn/longest_time_constant"] == pytest.approx(-1 / np.log(0.9), rel=1e-3)
    assert values["dynprobe/rnn/integrating_modes"] == 0


@pytest.mark.parametrize(
    ("steps", "every", "measured"),
    [
        (range(7), 3, [0, 3, 6]),
        ([5, 6, 12, 13, 19, 40], 10, [5, 12, 40]),  # optimizers that count by more than one
        ([1, 1, 2, 2, 3, 3], 2, [1, 2]),  # steps of accumulation
        ([8, 9, 0, 1], 5, [8, 0]),  # a second run
    ],
)
def test_when_it_measures(steps, every, measured):
    tracker = Tracker(nn.GRU(2, 3), torch.randn(4, 5, 2), every=every, analyzers=[])
    for step in steps:
        due = tracker.due(step)
        assert bool(tracker.step(step)) == due
    assert list(dict.fromkeys(seen.step for seen in tracker.history)) == measured


def test_calls_are_counted_where_no_step_is_given():
    tracker = Tracker(nn.GRU(2, 3), torch.randn(4, 5, 2), every=3, analyzers=[])
    assert [bool(tracker.step()) for _ in range(7)] == [
        True,
        False,
        True,
        False,
        False,
        True,
        False,
    ]


@dynprobe.register_analyzer("tracked_example")
class Example(dynprobe.Analyzer):
    def analyze(self, ctx):
        from dataclasses import make_dataclass

        if not ctx.recording.states.abs().max() < 0.99:
            raise ZeroDivisionError("by design")
        Result = make_dataclass("Result", ["count", "ratio", "text", "many"], frozen=True)
        return Result(len(ctx.recording), 0.5, "x", torch.zeros(3))


def test_of_other_analyzers_every_number_is_taken():
    tracker = Tracker(nn.GRU(2, 3), torch.randn(4, 5, 2), analyzers=["tracked_example"])
    values = tracker.step()
    del values["dynprobe/seconds"]
    assert values == {
        "dynprobe/gru/tracked_example/count": 5,  # nn.GRU: time comes first
        "dynprobe/gru/tracked_example/ratio": 0.5,
    }


def test_what_fails_is_warned_about_once_and_the_rest_goes_on():
    model = nn.RNN(2, 2, batch_first=True)
    with torch.no_grad():
        model.bias_hh_l0.fill_(9.0)  # states of 1
    tracker = Tracker(
        model, torch.randn(4, 5, 2), analyzers=["tracked_example", "manifold_dimension"], every=1
    )
    with pytest.warns(TrackingWarning, match="tracked_example of rnn at step 1.*by design") as seen:
        first = tracker.step()
    assert len(seen) == 1
    second = tracker.step()  # warnings are errors here
    for values, measured in zip((first, second), tracker.history, strict=True):
        assert "dynprobe/rnn/components_95" in values
        assert measured.failures == {"tracked_example of rnn": "ZeroDivisionError: by design"}


def test_a_batch_that_does_not_run_costs_only_itself():
    model = seeded().train()
    before = of_module(model)
    tracker = Tracker(model, torch.full((2, 3), 99), every=1)
    with pytest.warns(TrackingWarning, match="the forward pass at step 1: IndexError"):
        assert set(tracker.step()) == {"dynprobe/seconds"}
    assert changed(before, of_module(model)) == []


def test_states_that_are_not_finite_are_a_failure_of_their_layer():
    model = nn.GRU(2, 3, batch_first=True)
    tracker = Tracker(model, torch.randn(4, 5, 2))
    with torch.no_grad():
        model.bias_hh_l0.fill_(torch.nan)
    with pytest.warns(TrackingWarning, match="gru at step 1: NonFiniteStatesError"):
        tracker.step()


def test_an_interrupt_reaches_the_training():
    class Interrupted(dynprobe.Analyzer):
        name = "interrupted"

        def analyze(self, ctx):
            raise KeyboardInterrupt

    tracker = Tracker(nn.GRU(2, 3), torch.randn(4, 5, 2), analyzers=[Interrupted()])
    with pytest.raises(KeyboardInterrupt):
        tracker.step()


@pytest.mark.parametrize("given", [FIXED, (FIXED,), {"tokens": FIXED}, lambda m: m(FIXED)])
def test_the_batch_is_given_in_any_way(given):
    tracker = Tracker(seeded(), given, analyzers=["manifold_dimension"])
    assert tracker.step()["dynprobe/gru/participation_ratio"] > 1


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: {"input": x}])
def test_a_packed_batch(wrap):
    torch.manual_seed(0)
    packed = nn.utils.rnn.pack_sequence([torch.randn(n, 2) for n in (5, 3, 2)])
    tracker = Tracker(nn.GRU(2, 3), wrap(packed), analyzers=["manifold_dimension"])
    assert tracker.step()["dynprobe/gru/participation_ratio"] > 1


def test_labels_that_the_model_is_given_are_found():
    config = LinearTransformerConfig(
        vocab_size=6, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, num_labels=3
    )
    torch.manual_seed(0)
    model = dynprobe.nn.LinearTransformerForSequenceClassification(config)
    values = Tracker(model, {"input_ids": FIXED, "labels": LABELS}).step()
    assert 0 <= values["dynprobe/accuracy"] <= 1
    # of each memory the dimension without its states, and no fixed points, which it has not
    ratios = [name for name in values if name.endswith("memory_participation_ratio")]
    assert len(ratios) == 2
    assert not any("seeds" in name for name in values)


def test_layers_that_are_not_called_and_wide_states_are_passed_over():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.GRU(2, 257, batch_first=True), nn.GRU(2, 3)

        def forward(self, x):
            return self.used(x)[0]

    tracker = Tracker(Two(), torch.randn(4, 5, 2))
    values = tracker.step()
    assert {name.split("/")[1] for name in values} == {"used", "seconds"}
    assert not any("time_constant" in name for name in values)
    assert tracker.history[0].skipped["unused"] == "it was never called"


def test_mistakes_are_said_at_once():
    with pytest.raises(ParameterError, match="every is 0"):
        Tracker(nn.GRU(2, 3), torch.zeros(1, 2, 2), every=0)
    with pytest.raises(NoRecurrenceError):
        Tracker(nn.Linear(2, 3), torch.zeros(1, 2))
    with pytest.raises(UnknownNameError, match="manifold_dimension"):
        Tracker(nn.GRU(2, 3), torch.zeros(1, 2, 2), analyzers=["manifold_dimensions"])
    with pytest.raises(UnknownNameError):
        Tracker(nn.GRU(2, 3), torch.zeros(1, 2, 2), layers="lstm")


def test_the_history_is_written_after_each_measurement(tmp_path):
    path = tmp_path / "history.json"
    _, tracker = train(4, every=2, path=path, analyzers=["manifold_dimension"])
    written = json.loads(path.read_text())
    assert written == json.loads(json.dumps(tracker.to_dict()))
    assert [seen["step"] for seen in written["history"]] == [0, 2]
    assert written["seconds"] == pytest.approx(tracker.seconds)
    assert "2 measurements" in repr(tracker)


def test_a_file_that_cannot_be_written_does_not_stop_the_training(tmp_path):
    tracker = Tracker(
        nn.GRU(2, 3), torch.randn(4, 5, 2), analyzers=[], path=tmp_path / "no" / "history.json"
    )
    with pytest.warns(TrackingWarning, match=r"history\.json at step 1: FileNotFoundError"):
        tracker.step()


@pytest.mark.requires("pandas")
def test_the_history_as_a_table():
    _, tracker = train(4, every=2)
    table = tracker.to_pandas()
    assert table["step"].tolist() == [0, 2]
    assert table["dynprobe/gru/participation_ratio"].tolist() == [
        seen.values["dynprobe/gru/participation_ratio"] for seen in tracker.history
    ]


def test_modes_are_set_without_the_modules_own_methods():
    class Merging(nn.Linear):
        def train(self, mode=True):
            raise AssertionError("as adapters that merge their weights in eval()")

    model = nn.ModuleDict({"a": Merging(2, 2), "b": nn.Dropout()})
    with undisturbed(model):
        assert not any(m.training for m in model.modules())
        assert not torch.is_grad_enabled()
    assert all(m.training for m in model.modules())


def test_a_buffer_that_is_replaced_is_put_back():
    model = Noisy()
    moments = model.norm.running_mean
    with undisturbed(model):
        model.norm.running_mean = torch.ones(5)
        model.calls += 3
    assert model.norm.running_mean is moments
    assert model.calls == 0


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_the_model_inside_a_wrapper_is_measured(wrap):
    model = nn.GRU(2, 3, batch_first=True)
    assert unwrapped(wrap(model)) is model
    tracker = Tracker(wrap(model), torch.randn(4, 5, 2), analyzers=["manifold_dimension"])
    assert "dynprobe/gru/participation_ratio" in tracker.step()
    assert tracker.history[0].failures == {}


def test_a_sharded_model_is_not_run():
    model = nn.GRU(2, 3, batch_first=True)
    tracker = Tracker(model, torch.randn(4, 5, 2))
    model.weight_hh_l0.ds_id = 0  # as ZeRO-3 marks its own
    with pytest.warns(TrackingWarning, match="in pieces on several processes"):
        tracker.step()


@pytest.mark.requires("cuda")
def test_the_random_state_of_the_gpu_is_put_back():
    model = seeded().cuda()
    before = torch.cuda.get_rng_state()
    Tracker(model, FIXED, labels=LABELS).step()
    with undisturbed(model):
        torch.rand(3, device="cuda")
    assert torch.equal(before, torch.cuda.get_rng_state())
