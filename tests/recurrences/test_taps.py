"""A tap listens to a function of somebody else's file, and to nobody it was not asked to."""

from __future__ import annotations

import copy
import pickle
import threading
import types

import pytest
import torch
from transformers import MambaConfig, MambaModel
from transformers.models.mamba import modeling_mamba

import dynprobe
from dynprobe.recurrences.taps import _OPEN, Tap, close_sink, open_sink


def _function(a, state, scale=2.0):
    state.mul_(scale)
    return a + state


@pytest.fixture
def owner():
    return types.SimpleNamespace(function=_function)


def test_passes_through_where_nobody_listens(owner):
    tap = Tap(owner, "function")
    tap.install()
    assert owner.function(1.0, torch.ones(1)) == 3.0
    assert owner.function.__name__ == "_function"
    tap.remove()
    assert owner.function is _function


def test_counts_its_users(owner):
    taps = [Tap(owner, "function") for _ in range(3)]
    for tap in taps:
        tap.install()
    wrapper = owner.function
    for tap in taps[:2]:
        tap.remove()
        assert owner.function is wrapper
    taps[2].remove()
    assert owner.function is _function


def test_notes_arguments_by_name_and_what_is_overwritten(owner):
    tap = Tap(owner, "function", overwrites=("state",))
    tap.install()
    sink = open_sink()
    owner.function(1.0, torch.ones(2))
    close_sink(sink)
    owner.function(1.0, torch.ones(2))
    (seen,) = sink.seen
    assert seen.arguments["scale"] == 2.0
    assert seen.before["state"].tolist() == [1.0, 1.0]
    assert seen.arguments["state"].tolist() == [2.0, 2.0]
    assert seen.output.tolist() == [3.0, 3.0]
    tap.remove()


def test_sinks_close_in_any_order():
    a, b = open_sink(), open_sink()
    close_sink(a)
    assert _OPEN.get() == (b,)
    close_sink(b)
    assert _OPEN.get() == ()


def test_somebody_elses_replacement_is_left_alone(owner):
    tap = Tap(owner, "function")
    tap.install()
    owner.function = len
    tap.remove()
    assert owner.function is len


def test_copies_are_the_function_alone(owner):
    tap = Tap(owner, "function")
    tap.install()
    assert copy.deepcopy(owner.function) is _function
    assert pickle.loads(pickle.dumps(owner.function)) is _function
    tap.remove()


needs_functions = pytest.mark.skipif(
    not hasattr(modeling_mamba, "mamba_selective_scan"),
    reason="this release of transformers has no scan function to tap",
)


def tiny() -> MambaModel:
    config = MambaConfig(vocab_size=30, hidden_size=8, state_size=4, num_hidden_layers=1)
    return MambaModel(config).eval()


@needs_functions
def test_the_wrapper_leaves_with_the_last_probe(monkeypatch):
    # another test's probe may still be about: begin with the function alone
    plain = getattr(modeling_mamba.mamba_selective_scan, "function", None)
    plain = plain or modeling_mamba.mamba_selective_scan
    monkeypatch.setattr(modeling_mamba, "mamba_selective_scan", plain)
    a, b = dynprobe.attach(tiny()), dynprobe.attach(tiny())
    assert modeling_mamba.mamba_selective_scan is not plain
    a.detach()
    assert modeling_mamba.mamba_selective_scan is not plain
    a.detach()
    b.detach()
    assert modeling_mamba.mamba_selective_scan is plain
    dynprobe.attach(tiny())  # dropped without detach()
    assert modeling_mamba.mamba_selective_scan is plain


def test_two_probes_in_two_threads_and_an_unprobed_model():
    """Each probe sees its own model's calls, all of them, and nobody else's."""
    probed, unprobed = [tiny(), tiny()], tiny()
    batches = [[torch.randint(0, 30, (2, 5 + t)) for t in range(8)] for _ in range(3)]
    with torch.no_grad():
        expected = []
        for model, ids in zip(probed, batches[:2], strict=True):
            with dynprobe.attach(model) as probe:
                for x in ids:
                    model(x, use_cache=False)
            expected.append(probe.recording().states)
        alone = [unprobed(x).last_hidden_state for x in batches[2]]
    outputs: list[torch.Tensor] = []
    barrier = threading.Barrier(3)

    def run(model, ids, out):
        barrier.wait()
        with torch.no_grad():
            for x in ids:
                out.append(model(x, use_cache=False).last_hidden_state)

    probes = [dynprobe.attach(model) for model in probed]
    threads = [
        threading.Thread(target=run, args=(model, ids, out))
        for model, ids, out in zip([*probed, unprobed], batches, ([], [], outputs), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for probe, states in zip(probes, expected, strict=True):
        assert torch.equal(probe.recording().states, states)
        probe.detach()
    assert all(torch.equal(x, y) for x, y in zip(outputs, alone, strict=True))


def test_two_probes_on_one_model():
    model = tiny()
    ids = torch.randint(0, 30, (2, 6))
    with torch.no_grad():
        with dynprobe.attach(model) as outer:
            with dynprobe.attach(model) as inner:
                model(ids, use_cache=False)
            model(ids, use_cache=False)
    assert len(inner.recording()) == 2
    assert len(outer.recording()) == 4
    assert torch.equal(inner.recording().states, outer.recording().states[:2])


def test_nothing_is_left_open_after_an_error():
    model = tiny()
    with dynprobe.attach(model) as probe, torch.no_grad():
        projection = model.layers[0].mixer.out_proj
        with pytest.raises(RuntimeError):
            model.layers[0].mixer.out_proj = torch.nn.Linear(3, 3)
            model(torch.randint(0, 30, (1, 4)), use_cache=False)
        assert _OPEN.get() == ()
        model.layers[0].mixer.out_proj = projection
        model(torch.randint(0, 30, (1, 4)), use_cache=False)
    assert probe.recording().states.shape[:2] == (1, 4)


@needs_functions
def test_a_fused_kernel_is_passed_over_for_the_recorded_call(monkeypatch):
    model = tiny().train()
    fused = []

    def mamba_inner_fn(*args, **kwargs):
        fused.append(1)
        return torch.zeros(1, 4, 8)

    monkeypatch.setattr(modeling_mamba, "mamba_inner_fn", mamba_inner_fn)
    ids = torch.randint(0, 30, (1, 4))
    with pytest.warns(dynprobe.errors.RecordingWarning, match="unfused path"):
        with dynprobe.attach(model) as probe:
            model(ids, use_cache=False)
    assert not fused
    assert probe.recording().states.abs().sum() > 0
    model(ids, use_cache=False)
    assert fused


@needs_functions
def test_a_kernel_that_takes_another_path_is_an_error_and_never_an_empty_recording(monkeypatch):
    model = tiny()

    def forward(self, hidden_states, **_):
        return hidden_states

    monkeypatch.setattr(modeling_mamba.MambaMixer, "forward", forward)
    with dynprobe.attach(model) as probe, torch.no_grad():
        model(torch.randint(0, 30, (1, 4)), use_cache=False)
    with pytest.raises(dynprobe.DynprobeError, match="another path"):
        probe.recording()
