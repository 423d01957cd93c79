"""detach=False: recorded states stay in the graph of the forward pass."""

from __future__ import annotations

import hf_models
import pytest
import torch
from torch import nn

import dynprobe


def by_hand(lstm: nn.LSTM, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """h and c of a one-layer LSTM, step by step."""
    cell = nn.LSTMCell(lstm.input_size, lstm.hidden_size)
    for name, _ in list(cell.named_parameters()):
        setattr(cell, name, getattr(lstm, f"{name}_l0"))
    h = c = x.new_zeros(len(x), lstm.hidden_size)
    hs, cs = [], []
    for step in x.unbind(1):
        h, c = cell(step, (h, c))
        hs.append(h)
        cs.append(c)
    return torch.stack(hs, 1), torch.stack(cs, 1)


@pytest.mark.parametrize("part", ["h", "c"])
def test_gradients_through_the_states_of_an_lstm(part):
    lstm = nn.LSTM(3, 4, batch_first=True).double()
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    with dynprobe.attach(lstm, detach=False) as probe:
        lstm(x)
    weights = torch.randn(2, 6, 4, dtype=torch.float64)
    recorded = (probe.recording().part(part) * weights).sum()
    exact = (dict(zip("hc", by_hand(lstm, x), strict=True))[part] * weights).sum()
    given = [x, lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0]
    got = torch.autograd.grad(recorded, given, retain_graph=True)
    expected = torch.autograd.grad(exact, given)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_through_the_lower_layer_of_a_stack():
    gru = nn.GRU(3, 4, num_layers=2, batch_first=True).double()
    single = nn.GRU(3, 4, batch_first=True).double()
    single.load_state_dict({k: v for k, v in gru.state_dict().items() if k.endswith("_l0")})
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    with dynprobe.attach(gru, detach=False) as probe:
        gru(x)
    (got,) = torch.autograd.grad(probe.recording("gru.l0").states.square().sum(), x)
    (expected,) = torch.autograd.grad(single(x)[0].square().sum(), x)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", ["mamba", "mamba2", "qwen3_next", "minimax", "rwkv"])
def test_gradients_through_the_states_of_a_mixer(name):
    """Against central differences in an embedding's entry."""
    model = hf_models.BY_NAME[name].build().float()
    embeds = 0.5 * torch.randn(1, 4, model.config.hidden_size)
    direction = torch.randn_like(embeds)

    def final(e, probe_options):
        with dynprobe.attach(model, **probe_options) as probe:
            model(inputs_embeds=e, use_cache=False)
        return probe.recording(probe.layers[-1].key).states[0, -1]

    e = embeds.clone().requires_grad_(True)
    weights = torch.randn(final(embeds, {}).shape)
    (grad,) = torch.autograd.grad((final(e, {"detach": False}) * weights).sum(), e)
    step = 1e-4  # small: a running maximum has kinks
    with torch.no_grad():
        up = (final(embeds + step * direction, {}) * weights).sum()
        down = (final(embeds - step * direction, {}) * weights).sum()
    numeric = (up - down) / (2 * step)
    torch.testing.assert_close((grad * direction).sum(), numeric, rtol=2e-2, atol=1e-3)


def test_values_only_by_default():
    gru = nn.GRU(3, 4, batch_first=True)
    with dynprobe.attach(gru) as probe:
        gru(torch.randn(1, 3, 3, requires_grad=True))
    assert not probe.recording().states.requires_grad
