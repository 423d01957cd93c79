"""The layers of one nn.RNN, nn.GRU or nn.LSTM as one map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.dynamics.maps import autograd_jacobian
from dynprobe.errors import JointMapError

KINDS = {
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "gru": (nn.GRU, {}),
    "lstm": (nn.LSTM, {}),
    "lstm_projection": (nn.LSTM, {"proj_size": 3}),
}
PROJECTION_WARNING = "ignore:LSTM with projections is not supported with oneDNN"


def build(kind, layers, **options):
    cls, more = KINDS[kind]
    torch.manual_seed(5)
    return cls(4, 6, layers, batch_first=True, **more, **options)


def joint(rnn):
    return dynprobe.attach(rnn).recurrence("all")


def drawn(recurrence, batch=3, seed=0):
    """State and input in float64."""
    g = torch.Generator().manual_seed(seed)
    state = torch.randn(batch, recurrence.state_dim, generator=g, dtype=torch.float64)
    return state, torch.randn(batch, recurrence.input_dim, generator=g, dtype=torch.float64)


@pytest.mark.filterwarnings(PROJECTION_WARNING)
@pytest.mark.parametrize("layers", [2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_rollout_is_that_of_the_module(kind, layers):
    rnn = build(kind, layers).double()
    recurrence = joint(rnn)
    state, _ = drawn(recurrence)
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    parts = recurrence.layout.split(state)
    hx = torch.stack([parts[f"l{i}.h"] for i in range(layers)])
    if isinstance(rnn, nn.LSTM):
        hx = (hx, torch.stack([parts[f"l{i}.c"] for i in range(layers)]))
    with torch.no_grad():
        out, final = rnn(x, hx)
        states = recurrence.rollout(state, x)
    h = recurrence.layout.slice(f"l{layers - 1}.h")
    assert torch.allclose(states[..., h], out, rtol=0, atol=1e-12)
    last = recurrence.layout.split(states[:, -1])
    h_n = final[0] if isinstance(rnn, nn.LSTM) else final
    for i in range(layers):
        assert torch.allclose(last[f"l{i}.h"], h_n[i], rtol=0, atol=1e-12)
        if isinstance(rnn, nn.LSTM):
            assert torch.allclose(last[f"l{i}.c"], final[1][i], rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_closed_forms_are_the_derivatives(kind, layers):
    recurrence = joint(build(kind, layers))
    s, x = drawn(recurrence)
    pairs = {
        "jacobian": (recurrence.jacobian, lambda v: recurrence.step(v, x), s),
        "input_jacobian": (recurrence.input_jacobian, lambda v: recurrence.step(s, v), x),
        "root_jacobian": (recurrence.root_jacobian, lambda v: recurrence.root(v, x), s),
    }
    for name, (closed, function, at) in pairs.items():
        expected = autograd_jacobian(function, at)
        assert torch.allclose(closed(s, x), expected, rtol=0, atol=1e-12), name
        assert expected.abs().max() > 0.05


@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
def test_the_jacobian_is_block_lower_triangular_with_the_layers_own_on_the_diagonal(kind):
    rnn = build(kind, 3)
    with dynprobe.attach(rnn) as probe:
        recurrence = probe.recurrence("all")
        first = probe.recurrence(f"{kind if kind != 'tanh' else 'rnn'}.l0")
    s, x = drawn(recurrence)
    jacobian = recurrence.jacobian(s, x)
    n = first.state_dim
    for row in range(3):
        above = jacobian[:, row * n : (row + 1) * n, (row + 1) * n :]
        assert above.count_nonzero() == 0
    assert torch.equal(jacobian[:, :n, :n], first.jacobian(s[:, :n], x))
    below = jacobian[:, 2 * n :, :n]
    assert below.abs().max() > 1e-4  # the third layer feels the first within one step


@pytest.mark.parametrize("kind", ["tanh", "gru", "lstm"])
def test_the_box_is_mapped_into_itself(kind):
    recurrence = joint(build(kind, 3))
    g = torch.Generator().manual_seed(1)
    x = 3 * torch.randn(200, recurrence.input_dim, generator=g, dtype=torch.float64)
    box = recurrence.bound(x)
    signs = torch.randint(0, 2, box.shape, generator=g) * 2 - 1
    corners = box * signs
    inside = box * (2 * torch.rand(box.shape, generator=g, dtype=torch.float64) - 1)
    for state in (corners, inside):
        assert bool((recurrence.step(state, x).abs() <= box * (1 + 1e-12)).all())


def test_the_cell_box_of_an_upper_layer_is_reached_for_the_worst_input_of_the_layer_below():
    rnn = nn.LSTM(1, 2, 2)
    with torch.no_grad():
        for p in rnn.parameters():
            p.zero_()
        rnn.weight_ih_l1[2:4] = torch.tensor([[2.0, -1.0], [0.0, 0.0]])  # forget gate
    box = joint(rnn).layout.split(joint(rnn).bound(torch.zeros(1, 1, dtype=torch.float64)))
    assert torch.allclose(box["l0.c"], torch.full((1, 2), 2.0, dtype=torch.float64))
    f = torch.sigmoid(torch.tensor(3.0, dtype=torch.float64))  # |2| + |-1|
    expected = torch.tensor([[float(1 / (1 - f)), 2.0]], dtype=torch.float64)
    assert torch.allclose(box["l1.c"], expected)


@pytest.mark.parametrize("kind", ["relu", "lstm_projection"])
def test_no_box_where_a_layer_has_none(kind):
    recurrence = joint(build(kind, 2))
    assert recurrence.bound(torch.zeros(1, 4)) is None


def test_fixed_points_of_a_stack():
    recurrence = joint(build("gru", 2))
    seeds = torch.rand(8, recurrence.state_dim, generator=torch.Generator().manual_seed(2)) - 0.5
    found = dynprobe.find_fixed_points(recurrence, seeds).unique()
    assert len(found.states) == 1  # a small random GRU contracts
    state, x = found.states, torch.zeros(1, 4, dtype=torch.float64)
    assert (recurrence.step(state, x) - state).abs().max() < 1e-9
    eigenvalues = dynprobe.linearize(recurrence, found).eigenvalues
    assert eigenvalues.abs().max() < 1


def test_the_spectrum_is_the_union_of_the_layers_spectra():
    rnn = build("tanh", 2)
    recurrence = joint(rnn)
    probe = dynprobe.attach(rnn)
    s, x = drawn(recurrence, batch=1)
    lower, upper = probe.recurrence("rnn.l0"), probe.recurrence("rnn.l1")
    n = lower.state_dim
    own = [lower.jacobian(s[:, :n], x), upper.jacobian(s[:, n:], lower.step(s[:, :n], x))]
    union = torch.cat([torch.linalg.eigvals(j)[0] for j in own])
    joint_eigenvalues = torch.linalg.eigvals(recurrence.jacobian(s, x))[0]
    distance = (union[:, None] - joint_eigenvalues[None]).abs()
    assert distance.min(0).values.max() < 1e-10
    assert distance.min(1).values.max() < 1e-10


def test_one_layer_is_its_own_joint_map():
    recurrence = joint(build("lstm", 1))
    assert recurrence.layout.names == ("h", "c")


def test_the_parts_are_named_by_layer():
    assert joint(build("lstm", 2)).layout.names == ("l0.h", "l0.c", "l1.h", "l1.c")
    assert "l1.c" in repr(joint(build("lstm", 2)))


@pytest.mark.parametrize("layers", [1, 2])
def test_bidirectional_layers_have_no_joint_map(layers):
    with pytest.raises(JointMapError, match=r"no joint causal map.*step="):
        joint(build("gru", layers, bidirectional=True))


def test_dropout_between_layers_is_left_out():
    rnn = build("gru", 2, dropout=0.5).train()
    recurrence = joint(rnn)
    state = torch.zeros(1, recurrence.state_dim)
    x = torch.randn(1, 5, 4)
    out = build("gru", 2).eval()(x)[0]
    states = recurrence.rollout(state, x)
    assert torch.allclose(states[..., recurrence.layout.slice("l1.h")], out, atol=1e-6)
    assert "without dropout" in repr(recurrence)
    assert rnn.training


def test_the_map_follows_the_weights():
    rnn = build("tanh", 2)
    recurrence = joint(rnn)
    s, x = drawn(recurrence)
    before = recurrence.step(s, x)
    with torch.no_grad():
        rnn.weight_ih_l1.add_(0.1)
    after = recurrence.step(s, x)
    changed = (after != before).any(0)
    assert changed.tolist() == [False] * 6 + [True] * 6
