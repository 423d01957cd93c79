"""The observed forward pass is the same as without a probe, and nothing stays on the model."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import dynprobe


class CellLoop(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step) if state is None else self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


MODELS = {
    "rnn_tanh": lambda: nn.RNN(5, 6, batch_first=True),
    "rnn_relu": lambda: nn.RNN(5, 6, nonlinearity="relu", batch_first=True),
    "gru": lambda: nn.GRU(5, 6, batch_first=True),
    "gru_2_dropout": lambda: nn.GRU(5, 6, 2, dropout=0.5, batch_first=True),
    "gru_bidirectional": lambda: nn.GRU(5, 6, bidirectional=True, batch_first=True),
    "lstm": lambda: nn.LSTM(5, 6, batch_first=True),
    "lstm_2": lambda: nn.LSTM(5, 6, 2, batch_first=True),
    "rnn_cell": lambda: CellLoop(nn.RNNCell(5, 6)),
    "gru_cell": lambda: CellLoop(nn.GRUCell(5, 6)),
    "lstm_cell": lambda: CellLoop(nn.LSTMCell(5, 6)),
}


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_forward_gradients_rng_and_state_dict_are_unchanged(name, train):
    torch.manual_seed(1)
    model = MODELS[name]().train(train)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(4, 7, 5)

    def run():
        torch.manual_seed(2)
        model.zero_grad()
        given = x.clone().requires_grad_(True)
        output = first(model(given))
        output.square().sum().backward()
        grads = [p.grad.clone() for p in model.parameters()]
        return output, given.grad, grads, torch.get_rng_state()

    plain = run()
    keys = set(model.state_dict())
    with dynprobe.attach(model) as probe:
        probed = run()
        assert set(model.state_dict()) == keys
    probe.recording(probe.layers[-1].key)

    assert torch.equal(plain[0], probed[0])
    assert plain[0].grad_fn.name() == probed[0].grad_fn.name()
    assert torch.equal(plain[1], probed[1])
    assert all(torch.equal(a, b) for a, b in zip(plain[2], probed[2], strict=True))
    assert torch.equal(plain[3], probed[3])
    assert model.training is train
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_analysis_does_not_touch_rng_or_model():
    model = nn.GRU(3, 6, batch_first=True)
    with dynprobe.attach(model, readout=(torch.randn(2, 6), None)) as probe:
        model(torch.randn(20, 9, 3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    report = probe.analyze()
    assert not report.failures
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())


def hooks(model):
    return [
        h
        for m in model.modules()
        for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())
    ]


def test_nothing_is_left_after_detach_and_detach_is_idempotent():
    model = MODELS["lstm_cell"]()
    probe = dynprobe.attach(model)
    assert hooks(model)
    model(torch.randn(2, 3, 5))
    probe.detach()
    probe.detach()
    assert not hooks(model)
    assert not any(
        m._forward_hooks_with_kwargs or m._forward_hooks_always_called for m in model.modules()
    )
    assert probe.recording().states.shape == (2, 3, 12)
    assert not probe.attached


def test_nothing_is_left_after_an_exception_and_what_was_seen_is_kept():
    model = MODELS["gru"]()
    with pytest.raises(RuntimeError, match="boom"), dynprobe.attach(model) as probe:
        model(torch.randn(2, 3, 5))
        raise RuntimeError("boom")
    assert not hooks(model)
    assert len(probe.recording()) == 2


def test_an_exception_inside_the_forward_does_not_confuse_the_next_one():
    model = CellLoop(nn.GRUCell(5, 6))
    with dynprobe.attach(model) as probe:
        with pytest.raises(RuntimeError):
            model(torch.randn(2, 3, 4))  # wrong width
        model(torch.randn(2, 3, 5))
    assert probe.recording().states.shape == (2, 3, 6)
    assert probe.recording().logits.shape == (2, 2)


def test_a_dropped_probe_leaves_nothing_and_the_model_does_not_hold_it():
    model = MODELS["gru"]()
    probe = dynprobe.attach(model)
    model(torch.randn(2, 3, 5))
    gone = weakref.ref(probe)
    del probe
    gc.collect()
    assert gone() is None
    assert not hooks(model)
    model(torch.randn(2, 3, 5))


def test_the_model_is_not_kept_alive_after_probe_and_model_are_dropped():
    model = MODELS["gru"]()
    gone = weakref.ref(model)
    probe = dynprobe.attach(model)
    model(torch.randn(2, 3, 5))
    probe.detach()
    del model, probe
    gc.collect()
    assert gone() is None


def test_a_copy_of_a_probed_model_is_not_probed():
    model = MODELS["gru"]()
    with dynprobe.attach(model) as probe:
        twin = copy.deepcopy(model)
        clone = pickle.loads(pickle.dumps(model))
        for other in (twin, clone):
            other(torch.randn(9, 3, 5))
        model(torch.randn(2, 3, 5))
    assert len(probe.recording()) == 2


def test_later_in_place_changes_do_not_reach_the_recording():
    model = MODELS["gru"]()
    x = torch.randn(2, 3, 5)
    with dynprobe.attach(model) as probe, torch.no_grad():
        out, _ = model(x)
        expected = out.clone()
        out.zero_()
        x.zero_()
    assert torch.equal(probe.recording().states, expected)
    assert probe.recording().inputs.abs().sum() > 0


def test_recorded_tensors_hold_no_graph():
    model = MODELS["gru"]()
    with dynprobe.attach(model) as probe:
        model(torch.randn(2, 3, 5))
    assert not probe.recording().states.requires_grad
    assert not probe.recording().inputs.requires_grad


@pytest.mark.parametrize("name", ["gru", "lstm", "rnn_tanh"])
def test_packed_and_unbatched_forward_are_unchanged(name):
    model = MODELS[name]()
    packed = pack_padded_sequence(
        torch.randn(3, 5, 5), torch.tensor([2, 5, 3]), batch_first=True, enforce_sorted=False
    )
    single = torch.randn(5, 5)
    plain = model(packed)[0].data, model(single)[0]
    with dynprobe.attach(model):
        probed = model(packed)[0].data, model(single)[0]
    assert all(torch.equal(a, b) for a, b in zip(plain, probed, strict=True))


def test_two_probes_on_one_model_see_the_same():
    model = MODELS["lstm"]()
    with dynprobe.attach(model) as outer:
        with dynprobe.attach(model) as inner:
            model(torch.randn(2, 3, 5))
        model(torch.randn(4, 3, 5))
    assert len(outer.recording()) == 6
    assert torch.equal(outer.recording().states[:2], inner.recording().states)
