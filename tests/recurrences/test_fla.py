"""Layers of flash-linear-attention. Their kernels need a GPU; here plain loops stand in for them,
written by the published recurrences, with the same arguments and results."""

from __future__ import annotations

import importlib
import warnings

import pytest
import torch
from torch.nn.functional import normalize, softplus

import dynprobe

pytestmark = pytest.mark.requires("fla")


def run(q, k, v, decay, beta, initial, *, turned):
    """S' = decay S + k u^T, u = v or beta (v - S^T k); returns outputs, every state, the last."""
    b, t, h, _ = k.shape
    state = k.new_zeros(b, h, k.shape[-1], v.shape[-1])
    if initial is not None:
        state = initial.transpose(-1, -2) if turned else initial
    out, states = [], []
    for i in range(t):
        state = decay[:, i].unsqueeze(-1) * state
        u = v[:, i]
        if beta is not None:
            u = beta[:, i, :, None] * (u - torch.einsum("bhkv,bhk->bhv", state, k[:, i]))
        state = state + k[:, i].unsqueeze(-1) * u.unsqueeze(-2)
        states.append(state)
        out.append(torch.einsum("bhkv,bhk->bhv", state, q[:, i]))
    STATES.append(torch.stack(states, dim=1).flatten(2))
    return torch.stack(out, dim=1), state.transpose(-1, -2) if turned else state


STATES: list[torch.Tensor] = []


def linear_attn(q, k, v, initial_state=None, output_final_state=False, **kwargs):
    return run(q, k, v, torch.ones_like(k), None, initial_state, turned=False)


def retention(q, k, v, initial_state=None, output_final_state=False, **kwargs):
    gamma = 1 - 2.0 ** (-5 - torch.arange(k.shape[2]))
    decay = gamma[:, None].expand_as(k)
    return run(q, k, v, decay, None, initial_state, turned=False)


def gla(q, k, v, g=None, gk=None, initial_state=None, state_v_first=False, **kwargs):
    gate = g if gk is None else gk
    return run(q, k, v, gate.exp(), None, initial_state, turned=state_v_first)


def delta_rule(q, k, v, beta, initial_state=None, use_qk_l2norm_in_kernel=False, **kwargs):
    k = normalize(k, dim=-1) if use_qk_l2norm_in_kernel else k
    return run(q, k, v, torch.ones_like(k), beta, initial_state, turned=False)


def gated_delta_rule(
    q, k, v, g, beta, initial_state=None, A_log=None, dt_bias=None, state_v_first=False, **kwargs
):
    decay = torch.exp(-A_log.exp() * softplus(g + dt_bias))[..., None].expand_as(k)
    k = normalize(k, dim=-1)
    return run(q, k, v, decay, beta.sigmoid(), initial_state, turned=state_v_first)


CASES = {
    "linear_attn": ("LinearAttention", linear_attn, {}),
    "multiscale_retention": ("MultiScaleRetention", retention, {}),
    "gla": ("GatedLinearAttention", gla, {}),
    "delta_net": ("DeltaNet", delta_rule, {"use_short_conv": False}),
    "gated_deltanet": ("GatedDeltaNet", gated_delta_rule, {"use_short_conv": False, "head_dim": 8}),
}


@pytest.mark.parametrize("file", CASES)
def test_states_of_a_layer(file, monkeypatch):
    name, kernel, options = CASES[file]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modeling = importlib.import_module(f"fla.layers.{file}")
    for mode in ("chunk", "fused_chunk", "fused_recurrent"):
        full = f"{mode}_{kernel.__name__}"
        if hasattr(modeling, full):
            monkeypatch.setattr(modeling, full, kernel)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = getattr(modeling, name)(hidden_size=32, num_heads=2, **options)
    # its own norms and rotations are GPU kernels too; they do not touch the states
    for part in ("norm", "o_norm", "g_norm", "g_norm_swish_gate"):
        if hasattr(layer, part):
            setattr(layer, part, Norm())
    if hasattr(layer, "rotary"):
        layer.rotary = Rotary()
    layer.eval()
    STATES.clear()
    x = torch.randn(2, 9, 32)
    with torch.no_grad(), dynprobe.attach(layer) as probe:
        layer(x)
    rec = probe.recording()
    (expected,) = STATES
    assert (rec.states - expected).norm() / expected.norm() <= 1e-5
    recurrence = probe.recurrence()
    stepped = recurrence.step(rec.before[:, 4], rec.inputs[:, 4])
    torch.testing.assert_close(stepped, rec.states[:, 4], rtol=1e-4, atol=1e-6)


class Norm(torch.nn.Module):
    """Stands in for a fused norm, with or without its gate."""

    def forward(self, x, *_, **__):
        return x


class Rotary(torch.nn.Module):
    """Stands in for the rotation of queries and keys."""

    def forward(self, q, k, **_):
        return q, k
