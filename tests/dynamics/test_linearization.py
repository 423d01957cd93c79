"""Linearisation against derivatives by autograd, and against maps whose modes are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.dynamics.krylov import directional
from dynprobe.dynamics.maps import autograd_jacobian
from dynprobe.dynamics.modes import (
    Stability,
    departure_from_normality,
    eigenmodes,
    longest_lasting,
)
from dynprobe.errors import NonFiniteStatesError, ShapeError
from dynprobe.nn import UGRNN, LeakyRNN, ResetFirstGRU
from dynprobe.testing import linear_system

X, H = 3, 5
MODULES = {
    "rnn_tanh": lambda: nn.RNN(X, H),
    "rnn_relu": lambda: nn.RNN(X, H, nonlinearity="relu"),
    "gru": lambda: nn.GRU(X, H),
    "gru_no_bias": lambda: nn.GRU(X, H, bias=False),
    "lstm": lambda: nn.LSTM(X, H),
    "lstm_projected": lambda: nn.LSTM(X, H, proj_size=2),
    "rnn_cell": lambda: nn.RNNCell(X, H),
    "gru_cell": lambda: nn.GRUCell(X, H),
    "lstm_cell": lambda: nn.LSTMCell(X, H),
    "ugrnn": lambda: UGRNN(X, H),
    "gru_reset_first": lambda: ResetFirstGRU(X, H),
    "leaky": lambda: LeakyRNN(X, H),
    "rnn_3": lambda: nn.RNN(X, H, 3),
    "gru_3": lambda: nn.GRU(X, H, 3),
    "lstm_3": lambda: nn.LSTM(X, H, 3),
    "lstm_projected_2": lambda: nn.LSTM(X, H, 2, proj_size=2),
}


def drawn(n, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64)


def diagonal_at_the_state():
    """F(s, x) = s^2 / 2 + x: the eigenvalues at a state are its own entries."""
    return dynprobe.as_recurrence(lambda s, x: s**2 / 2 + x, state_dim=3, input_dim=3)


def of_matrix(matrix):
    m = torch.tensor(matrix, dtype=torch.float64)
    system = dynprobe.as_recurrence(lambda s, x: s @ m.T + x, state_dim=len(m), input_dim=len(m))
    return dynprobe.linearize(system, torch.zeros(1, len(m)))


@pytest.mark.parametrize("name", MODULES)
def test_the_jacobians_of_every_known_cell_are_its_derivatives(name):
    rnn = dynprobe.attach(MODULES[name]()).recurrence("all")
    s, x = drawn(7, rnn.state_dim), drawn(7, X, seed=1)
    lin = dynprobe.linearize(rnn, s.requires_grad_(True), x)
    by_state = autograd_jacobian(lambda v: rnn.step(v, x), s)
    by_input = autograd_jacobian(lambda v: rnn.step(s, v), x)
    assert (lin.jacobian - by_state).abs().max() <= 1e-12
    assert (lin.input_jacobian - by_input).abs().max() <= 1e-12
    assert by_state.abs().max() > 0.01
    assert by_input.abs().max() > 0.01
    assert lin.jacobian.dtype == torch.float64
    assert not lin.jacobian.requires_grad
    assert not rnn.jacobian(s, x).requires_grad  # also outside linearize


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_step_that_calls_the_fused_layer_agrees_with_the_closed_form(kind, layers):
    """Without knowing what is inside the function: the way of any cell of the user's own."""
    module = kind(X, H, layers, batch_first=True, dtype=torch.float64)
    parts = 2 if kind is nn.LSTM else 1

    def step(s, x):
        given = tuple(
            p.transpose(0, 1).contiguous() for p in s.unflatten(1, (parts, layers, H)).unbind(1)
        )
        _, out = module(x[:, None], given if parts == 2 else given[0])
        out = torch.stack(out if parts == 2 else (out,))  # (parts, layers, batch, H)
        return out.permute(2, 0, 1, 3).flatten(1)

    own = dynprobe.as_recurrence(step, state_dim=parts * layers * H, input_dim=X)
    known = dynprobe.attach(module).recurrence("all")
    s, x = drawn(4, own.state_dim, seed=2), drawn(4, X, seed=3)
    # [h0, h1, c0, c1] here, [h0, c0, h1, c1] there
    order = torch.arange(own.state_dim).reshape(parts, layers, H).transpose(0, 1).flatten()
    a, b = dynprobe.linearize(own, s, x), dynprobe.linearize(known, s[:, order], x)
    assert (a.jacobian[:, order][:, :, order] - b.jacobian).abs().max() <= 1e-12
    assert (a.input_jacobian[:, order] - b.input_jacobian).abs().max() <= 1e-12


@pytest.mark.parametrize("name", ["gru", "lstm_3", "ugrnn"])
def test_the_users_model_is_unchanged(name):
    module = MODULES[name]().train()
    first, *rest = module.parameters()
    first.requires_grad_(False)
    for p in rest:
        p.grad = torch.full_like(p, 7.0)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    rng = torch.get_rng_state()
    rnn = dynprobe.attach(module).recurrence("all")
    dynprobe.linearize(rnn, drawn(4, rnn.state_dim))
    assert torch.equal(rng, torch.get_rng_state())
    assert module.training
    assert [p.requires_grad for p in module.parameters()] == [False] + [True] * len(rest)
    assert first.grad is None
    assert all(bool((p.grad == 7).all()) for p in rest)
    for key, value in module.state_dict().items():
        assert value.dtype == torch.float32
        assert value.device.type == "cpu"
        assert torch.equal(value, before[key])


def test_the_modes_of_a_linear_map():
    lam = [0.95, 0.5, -0.3, 0.1]
    system, matrix, fixed = linear_system(lam)
    points = dynprobe.find_fixed_points(system, drawn(20, 4)).unique()
    lin = dynprobe.linearize(system, points)
    assert len(lin) == 1
    torch.testing.assert_close(lin.states[0], fixed, atol=1e-8, rtol=0)
    torch.testing.assert_close(lin.eigenvalues[0].real, torch.tensor(lam, dtype=torch.float64))
    right, left = lin.right[0], lin.left[0]
    matrix = matrix.to(right)
    for mode, value in enumerate(lam):
        torch.testing.assert_close(matrix @ right[:, mode], value * right[:, mode])
        torch.testing.assert_close(left[mode] @ matrix, value * left[mode])
    assert (left @ right - torch.eye(4)).abs().max() <= 1e-12
    assert (right.abs().square().sum(0) - 1).abs().max() <= 1e-12
    # x is added to the state, so that what a mode selects of it is its left vector
    torch.testing.assert_close(lin.selection[0], left)
    # the effect of an input after k steps: sum of lambda^k r (l^T x)
    x = drawn(1, 4, seed=5)[0]
    after = (right * lin.eigenvalues[0] ** 9) @ (lin.selection[0] @ x.to(right))
    torch.testing.assert_close(after.real, torch.linalg.matrix_power(matrix.real, 9) @ x)
    assert not lin.ill_conditioned.any()
    assert (lin.condition >= 1 - 1e-12).all()


def test_complex_modes_have_a_period():
    angle, decay = 2 * math.pi / 12, math.exp(-1 / 20)
    c, s = decay * math.cos(angle), decay * math.sin(angle)
    lin = of_matrix([[c, -s], [s, c]])
    assert lin.time_constants[0].tolist() == pytest.approx([20, 20])
    assert lin.periods[0].tolist() == pytest.approx([12, 12])
    assert lin.departure.max() <= 1e-7
    assert lin.condition.max() <= 1 + 1e-9


def test_departure_from_normality():
    # triangular: what is above the diagonal is what Henrici counts
    lin = of_matrix([[0.9, 3.0, -4.0], [0, 0.5, 0], [0, 0, 0.2]])
    absolute = departure_from_normality(lin.jacobian, lin.eigenvalues)
    assert float(absolute) == pytest.approx(5.0, rel=1e-12)
    assert float(lin.departure) == pytest.approx(5 / math.sqrt(25 + 0.81 + 0.25 + 0.04))
    q, _ = torch.linalg.qr(drawn(3, 3))
    turned = dynprobe.as_recurrence(
        lambda s, x: s @ (q @ lin.jacobian[0] @ q.T).T + x, state_dim=3, input_dim=3
    )
    again = dynprobe.linearize(turned, torch.zeros(1, 3))
    assert float(again.departure) == pytest.approx(float(lin.departure))
    symmetric = drawn(4, 4) + drawn(4, 4).T
    assert float(of_matrix(symmetric.tolist()).departure) <= 1e-7
    assert float(of_matrix([[0, 1.0], [0, 0]]).departure) == 1
    assert float(of_matrix([[0, 0.0], [0, 0]]).departure) == 0


@pytest.mark.parametrize("size", [2, 3])
def test_defective_modes_are_said_to_be_so(size):
    """A Jordan block in a basis that hides it, beside two honest modes."""
    block = torch.diag(torch.tensor([0.9] * size + [0.5, 0.2]).double())
    for i in range(size - 1):
        block[i, i + 1] = 1.0
    basis = torch.linalg.qr(drawn(size + 2, size + 2))[0] + 0.2 * drawn(size + 2, size + 2, seed=1)
    lin = of_matrix((basis @ block @ torch.linalg.inv(basis)).tolist())
    assert lin.ill_conditioned[0].tolist() == [True] * size + [False] * 2
    assert "ill-conditioned modes at 1" in repr(lin)
    honest = (lin.left @ lin.right)[0, -2:, -2:]
    assert (honest - torch.eye(2)).abs().max() <= 1e-9
    exact = of_matrix([[0.0, 1.0], [0.0, 0.0]])
    assert exact.ill_conditioned.all()
    repeated = of_matrix([[0.9, 0.0], [0.0, 0.9]])  # one eigenvalue twice, and not defective
    assert not repeated.ill_conditioned.any()
    assert "ill" not in repr(repeated)


def test_stability_and_percentiles_over_the_points():
    lam = torch.tensor([[0.9, 0.5, 0.1], [1.0, 0.5, 0.1], [1.1, 0.9, 0.1]], dtype=torch.float64)
    lin = dynprobe.linearize(diagonal_at_the_state(), lam)
    assert lin.stability.tolist() == [Stability.STABLE, Stability.MARGINAL, Stability.UNSTABLE]
    assert lin.spectral_radius.tolist() == pytest.approx([0.9, 1.0, 1.1])
    tau = lin.percentiles(top=2, at=(0, 50, 100))
    # of each point the slowest: 9.49, infinite, 10.49 (growing), and then 1.44, 1.44, 9.49
    slow, grows, fast = -1 / math.log(0.9), 1 / math.log(1.1), -1 / math.log(0.5)
    assert tau[0].tolist() == pytest.approx([slow, grows, math.inf])
    assert tau[1].tolist() == pytest.approx([fast, fast, slow])
    assert lin.percentiles().shape == (3, 3)
    text = repr(lin)
    assert "3 points, 3 modes: 1 stable, 1 marginal, 1 unstable" in text
    assert "slowest tau 10.5 steps" in text
    out = lin.to_dict()
    json.dumps(out, allow_nan=False)
    assert out["time_constants"][1][0] == "inf"
    assert out["stability"] == ["STABLE", "MARGINAL", "UNSTABLE"]
    assert out["percentiles"]["at"] == [10, 50, 90]
    assert {"departure", "condition", "time_constants", "spectral_radius"} <= set(out)


def test_no_points_are_no_error():
    lin = dynprobe.linearize(diagonal_at_the_state(), torch.zeros(0, 3))
    assert len(lin) == 0
    assert lin.percentiles().isnan().all()
    assert "0 points" in repr(lin)


def test_the_longest_lasting_modes_take_whole_pairs():
    pair = torch.polar(torch.tensor(0.95).double(), torch.tensor(0.3).double())
    values = torch.stack([torch.tensor(1.3 + 0j), pair, torch.tensor(0.2 + 0j), pair.conj()])
    assert longest_lasting(values, 1).tolist() == [0]
    assert sorted(longest_lasting(values, 2).tolist()) == [0, 1, 3]
    assert longest_lasting(torch.tensor([0.9, 0.5], dtype=torch.complex128), 1).tolist() == [0]


def test_modes_come_by_falling_magnitude_for_many_points():
    values, right, left = eigenmodes(drawn(200 * 6, 6).reshape(200, 6, 6))
    assert (values.abs().diff(dim=1) <= 1e-12).all()
    assert (left @ right - torch.eye(6)).abs().max() <= 1e-9


def test_what_is_not_finite_is_refused_by_its_row():
    states = torch.ones(4, 3)
    states[2, 1] = torch.nan
    with pytest.raises(NonFiniteStatesError, match="point 2 holds NaN"):
        dynprobe.linearize(diagonal_at_the_state(), states)


def test_inputs_for_another_number_of_points_are_refused():
    with pytest.raises(ShapeError, match=r"one for each point \(4, 3\)"):
        dynprobe.linearize(diagonal_at_the_state(), torch.ones(4, 3), torch.zeros(5, 3))


def own(function, n):
    return dynprobe.as_recurrence(function, state_dim=n, input_dim=1)


def test_an_input_jacobian_that_is_not_finite_is_refused_as_well():
    """The square root has no slope at 0 and is no number below."""
    for x in (0.0, -1.0):
        with pytest.raises(
            NonFiniteStatesError, match="input Jacobian at point 1 holds NaN or Inf"
        ):
            dynprobe.linearize(
                own(lambda s, x: 0.5 * s + x.sqrt(), 1), torch.zeros(2, 1), [[1.0], [x]]
            )


def test_states_and_inputs_made_in_inference_mode():
    with torch.inference_mode():
        s, x = drawn(5, 2), drawn(5, 1, seed=1)
    system = own(lambda s, x: 0.5 * torch.tanh(s * x), 2)
    expected = dynprobe.linearize(system, s.clone(), x.clone())
    slope = 0.5 * x * (1 - torch.tanh(s * x) ** 2)
    torch.testing.assert_close(expected.jacobian.diagonal(dim1=1, dim2=2), slope.clone())
    for again in (dynprobe.linearize(system, s, x), within_inference_mode(system, s, x)):
        assert torch.equal(again.jacobian, expected.jacobian)
        assert torch.equal(again.input_jacobian, expected.input_jacobian)
    j_times = directional(lambda v: 0.5 * torch.tanh(v), s)
    torch.testing.assert_close(j_times(torch.ones(5, 2)), (0.5 * (1 - s.tanh() ** 2)).clone())


def within_inference_mode(system, s, x):
    with torch.inference_mode():
        return dynprobe.linearize(system, s, x)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_states_and_inputs_may_be_arrays_of_any_kind(kind):
    system = own(lambda s, x: s**2 / 2 + x, 2)
    states, inputs = [[0.1, 0.2], [0.3, 0.4]], [0.7]
    lin = dynprobe.linearize(system, kind(states), kind(inputs))
    diagonal = torch.tensor(states, dtype=torch.float64 if kind is not torch.tensor else None)
    assert torch.equal(lin.jacobian, torch.diag_embed(diagonal.double()))
    assert lin.inputs.shape == (2, 1)


@pytest.mark.parametrize("states", [[[0.1], [0.1, 0.2]], "states", [["a"]]])
def test_what_makes_no_array_is_named(states):
    with pytest.raises(ShapeError, match="states given as .* make no array of numbers"):
        dynprobe.linearize(own(lambda s, x: s, 2), states)
    with pytest.raises(ShapeError, match="inputs given as"):
        dynprobe.linearize(own(lambda s, x: s, 2), [[0.1, 0.2]], states)


@pytest.mark.parametrize("batch", [1, 60, 300, 700])
def test_jacobians_are_the_same_however_many_outputs_go_at_once(batch):
    """At 60 all 40 outputs at once, at 300 ten by ten, at 700 one by one."""
    a = drawn(40, 40) / 6
    s = drawn(batch, 40, seed=1)
    found = autograd_jacobian(lambda v: torch.tanh(v @ a.T), s)
    expected = (1 - torch.tanh(s @ a.T) ** 2)[:, :, None] * a
    torch.testing.assert_close(found, expected)
