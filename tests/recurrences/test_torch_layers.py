"""Every state of nn.RNN, nn.GRU and nn.LSTM against an oracle that steps token by token.

The oracle is written here from PyTorch's documented equations and shares no code with dynprobe.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import dynprobe
from dynprobe.errors import DynprobeError, StaleWeightsError

B, T, I, H, P = 4, 7, 5, 6, 3  # noqa: E741


def oracle_step(rnn, suffix, x, h, c):
    def get(stem):
        return getattr(rnn, f"{stem}{suffix}", None)

    a = x @ get("weight_ih").T
    b = h @ get("weight_hh").T
    if rnn.bias:
        a, b = a + get("bias_ih"), b + get("bias_hh")
    if isinstance(rnn, nn.LSTM):
        i, f, g, o = (a + b).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return (h if not rnn.proj_size else h @ get("weight_hr").T), c
    if isinstance(rnn, nn.GRU):
        (ar, az, an), (br, bz, bn) = a.chunk(3, -1), b.chunk(3, -1)
        r, z = (ar + br).sigmoid(), (az + bz).sigmoid()
        n = (an + r * bn).tanh()
        return (1 - z) * n + z * h, c
    return ((a + b).tanh() if rnn.nonlinearity == "tanh" else (a + b).relu()), c


@torch.no_grad()
def oracle(rnn, x, lengths, h0, c0):
    """{key: (states in processing order (B, T, n))} for every layer and direction."""
    d = 2 if rnn.bidirectional else 1
    out = {}
    layer_input = x
    for layer in range(rnn.num_layers):
        outputs = []
        for direction in range(d):
            suffix = f"_l{layer}" + ("_reverse" if direction else "")
            hs = torch.zeros(B, T, h0.shape[-1])
            states = torch.zeros(B, T, h0.shape[-1] + (H if c0 is not None else 0))
            for b in range(B):
                index = layer * d + direction
                h, c = h0[index, b], None if c0 is None else c0[index, b]
                order = range(int(lengths[b]))
                for k, t in enumerate(reversed(order) if direction else order):
                    h, c = oracle_step(rnn, suffix, layer_input[b, t], h, c)
                    hs[b, t] = h
                    states[b, k] = h if c is None else torch.cat([h, c])
            outputs.append(hs)
            out[f"l{layer}" + (".reverse" if direction else "")] = states
        layer_input = torch.cat(outputs, -1)
    return out


KINDS = {
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "lstm_projection": (nn.LSTM, {"proj_size": P}),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("given", [False, True], ids=["default_h0", "given_h0"])
@pytest.mark.parametrize("form", ["padded", "packed", "packed_sorted", "time_first"])
@pytest.mark.parametrize(
    ("kind", "layers", "bidirectional"), list(itertools.product(KINDS, [1, 2, 3, 4], [False, True]))
)
def test_every_state_equals_the_oracle(kind, layers, bidirectional, form, given):
    cls, options = KINDS[kind]
    torch.manual_seed(3)
    rnn = cls(
        I,
        H,
        layers,
        bidirectional=bidirectional,
        batch_first=form != "time_first",
        bias=not given,
        **options,
    )
    x = torch.randn(B, T, I)
    lengths = torch.tensor([7, 6, 4, 2]) if form == "packed_sorted" else torch.tensor([3, 7, 1, 5])
    if form in ("padded", "time_first"):
        lengths = torch.full((B,), T)
    d = layers * (2 if bidirectional else 1)
    width = P if options.get("proj_size") else H
    h0 = torch.randn(d, B, width) if given else torch.zeros(d, B, width)
    c0 = None
    if cls is nn.LSTM:
        c0 = torch.randn(d, B, H) if given else torch.zeros(d, B, H)
    hx = None if not given else (h0 if c0 is None else (h0, c0))
    if form.startswith("packed"):
        fed = pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=form == "packed_sorted"
        )
    else:
        fed = x.transpose(0, 1) if form == "time_first" else x
    with dynprobe.attach(rnn) as probe, torch.no_grad():
        output, _ = rnn(fed, hx)

    expected = oracle(rnn, x, lengths, h0, c0)
    single = len(expected) == 1
    name = cls.__name__.lower()
    for key, states in expected.items():
        rec = probe.recording(name if single else f"{name}.{key}")
        assert torch.equal(rec.lengths, lengths)
        scale = states.norm()
        assert (rec.states - states).norm() <= 1e-5 * scale
        # what came in, and where it started, reproduce the states through the recurrence
        rollout = probe.recurrence(rec.layer).rollout(rec.initial, rec.inputs)
        assert ((rollout - rec.states) * rec.mask[..., None]).norm() <= 1e-5 * scale
    if form == "padded":  # the visible output, bit for bit
        top = probe.recording(name)
        assert torch.equal(top.part("h"), output[..., :width])


def test_rebuilt_layers_reproduce_the_output_bit_for_bit():
    torch.manual_seed(0)
    for cls in (nn.RNN, nn.GRU, nn.LSTM):
        rnn = cls(5, 8, 3, batch_first=True)
        with dynprobe.attach(rnn) as probe, torch.no_grad():
            output, _ = rnn(torch.randn(3, 9, 5))
        middle = probe.recording(f"{cls.__name__.lower()}.l1").part("h")
        top = cls(8, 8, batch_first=True)
        top.load_state_dict({k: getattr(rnn, k.replace("_l0", "_l2")) for k in top.state_dict()})
        with torch.no_grad():
            assert torch.equal(top(middle)[0], output)


def test_unbatched_input_is_one_sequence():
    rnn = nn.LSTM(5, 6, 2)
    x = torch.randn(7, 5)
    with dynprobe.attach(rnn) as probe:
        out, (_, c) = rnn(x)
    rec = probe.recording("lstm")
    assert rec.states.shape == (1, 7, 12)
    assert torch.equal(rec.part("h")[0], out)
    torch.testing.assert_close(rec.part("c")[0, -1], c[-1])


def test_half_and_double_precision_are_kept():
    rnn = nn.LSTM(5, 6, batch_first=True, dtype=torch.float64)
    with dynprobe.attach(rnn) as probe:
        rnn(torch.randn(2, 4, 5, dtype=torch.float64))
    assert probe.recording().states.dtype == torch.float64


def test_changed_weights_are_refused_and_materialize_prevents_it():
    rnn = nn.LSTM(5, 6, batch_first=True)
    for materialize in (False, True):
        probe = dynprobe.attach(rnn)
        rnn(torch.randn(2, 4, 5))
        if materialize:
            probe.materialize()
        with torch.no_grad():
            rnn.weight_hh_l0.mul_(1.5)
        if materialize:
            assert probe.recording().states.shape == (2, 4, 12)
        else:
            with pytest.raises(StaleWeightsError, match=r"probe\.materialize\(\)"):
                probe.recording()
        probe.detach()


def test_weights_may_change_after_detach():
    rnn = nn.LSTM(5, 6, 2, batch_first=True)
    with dynprobe.attach(rnn) as probe:
        rnn(torch.randn(2, 4, 5))
    with torch.no_grad():
        rnn.weight_hh_l0.mul_(1.5)
    assert probe.recording("lstm.l0").states.shape == (2, 4, 12)
    assert probe.recording("lstm.l1").states.shape == (2, 4, 12)


def test_dropout_between_layers_in_training_is_refused_with_the_reason():
    rnn = nn.GRU(5, 6, 2, dropout=0.5, batch_first=True)
    with dynprobe.attach(rnn) as probe:
        out, _ = rnn(torch.randn(2, 4, 5))
    top = probe.recording("gru")
    assert torch.equal(top.states, out)
    assert top.inputs is None
    assert any("dropout" in note for note in top.meta.notes)
    lstm = nn.LSTM(5, 6, 2, dropout=0.5, batch_first=True)
    with dynprobe.attach(lstm) as probe:
        lstm(torch.randn(2, 4, 5))
    with pytest.raises(DynprobeError, match="Record in eval mode"):
        probe.recording("lstm.l1")
    lstm.eval()
    with dynprobe.attach(lstm) as probe:
        lstm(torch.randn(2, 4, 5))
    assert probe.recording("lstm.l1").states.shape == (2, 4, 12)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_jacobians_equal_autograd(kind):
    from dynprobe.dynamics.maps import autograd_jacobian

    cls, options = KINDS[kind]
    rnn = cls(I, H, **options)
    rec = dynprobe.attach(rnn).recurrence()
    generator = torch.Generator().manual_seed(0)
    s = torch.randn(9, rec.state_dim, generator=generator, dtype=torch.float64)
    x = torch.randn(9, I, generator=generator, dtype=torch.float64)
    for closed, numeric in (
        (rec.jacobian(s, x), autograd_jacobian(lambda q: rec.step(q, x), s)),
        (rec.input_jacobian(s, x), autograd_jacobian(lambda u: rec.step(s, u), x)),
        (rec.root_jacobian(s, x), autograd_jacobian(lambda q: rec.root(q, x), s)),
    ):
        torch.testing.assert_close(closed, numeric, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
def test_the_invariant_box_is_invariant(kind):
    cls, options = KINDS[kind]
    rnn = cls(I, H, **options, dtype=torch.float64)
    rec = dynprobe.attach(rnn).recurrence()
    x = torch.randn(500, I, dtype=torch.float64)
    bound = rec.bound(x)
    inside = (2 * torch.rand(500, rec.state_dim, dtype=torch.float64) - 1) * bound
    corners = inside.sign() * bound
    for s in (inside, corners):
        assert (rec.step(s, x).abs() <= bound).all()


def test_no_bound_is_claimed_where_there_is_none():
    assert (
        dynprobe.attach(nn.RNN(2, 3, nonlinearity="relu")).recurrence().bound(torch.zeros(1, 2))
        is None
    )
    assert dynprobe.attach(nn.LSTM(2, 3, proj_size=2)).recurrence().bound(torch.zeros(1, 2)) is None
