"""Half precision and autocast: outputs untouched, states as the kernels keep them."""

from __future__ import annotations

import warnings

import hf_models
import pytest
import torch
from torch import nn

import dynprobe


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_torch_layer_in_bfloat16(kind):
    rnn = kind(4, 8, num_layers=2, batch_first=True).to(torch.bfloat16)
    x = torch.randn(3, 20, 4, dtype=torch.bfloat16)
    with torch.no_grad():
        plain = rnn(x)[0]
        with dynprobe.attach(rnn) as probe:
            assert torch.equal(rnn(x)[0], plain)
    reference = kind(4, 8, num_layers=2, batch_first=True)
    reference.load_state_dict(rnn.state_dict())
    with torch.no_grad(), dynprobe.attach(reference) as exact:
        reference(x.float())
    for info in probe.layers:
        states = probe.recording(info.key).states
        assert states.dtype == torch.bfloat16
        expected = exact.recording(info.key).states
        assert (states.float() - expected).norm() / expected.norm() <= 2e-2
    assert torch.equal(probe.recording(probe.layers[-1].key).part("h"), plain)


@pytest.mark.parametrize(
    "kind", [nn.RNN, nn.GRU, pytest.param(nn.LSTM, marks=pytest.mark.requires("bf16_lstm"))]
)
def test_a_torch_layer_under_autocast(kind):
    rnn = kind(4, 8, num_layers=2, batch_first=True)
    x = torch.randn(3, 20, 4)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        plain = rnn(x)[0]
        with dynprobe.attach(rnn) as probe:
            watched = rnn(x)[0]
    assert torch.equal(plain, watched)
    with torch.no_grad(), dynprobe.attach(rnn) as exact:
        rnn(x)
    for info in probe.layers:
        states, expected = (p.recording(info.key).states.float() for p in (probe, exact))
        assert (states - expected).norm() / expected.norm() <= 3e-2


@pytest.mark.parametrize("name", ["mamba", "mamba2", "qwen3_next", "rwkv"])
@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_a_mixer(name, how):
    """States are float32, as the kernels keep them, and close to those of the float32 model."""
    family = hf_models.BY_NAME[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, reference = family.build(), family.build()
        ids = torch.randint(3, hf_models.VOCABULARY, (family.batch, 12))
        if how == "bfloat16":
            model = model.to(torch.bfloat16)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
            plain = model(ids).logits
            with dynprobe.attach(model) as probe:
                assert torch.equal(model(ids).logits, plain)
        with torch.no_grad(), dynprobe.attach(reference) as exact:
            reference(ids)
    key = probe.layers[0].key
    states, expected = probe.recording(key).states, exact.recording(key).states
    assert states.dtype == torch.float32
    assert (states - expected).norm() / expected.norm() <= 5e-2
