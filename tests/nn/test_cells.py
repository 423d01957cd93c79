"""UGRNN, the GRU that resets first and the leaky rate network, and how a probe sees them."""

from __future__ import annotations

import math

import pytest
import torch

import dynprobe
from dynprobe.dynamics.maps import autograd_jacobian
from dynprobe.nn import UGRNN, LeakyRNN, LeakyRNNCell, ResetFirstGRU, ResetFirstGRUCell, UGRNNCell

LAYERS = {"ugrnn": UGRNN, "gru_reset_first": ResetFirstGRU, "leaky": LeakyRNN}


def make(name, **kwargs):
    return LAYERS[name](3, 6, generator=torch.Generator().manual_seed(0), **kwargs)


def test_ugrnn_equations():
    cell = UGRNNCell(3, 4)
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    a = x @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias
    u, c = a[:, :4].sigmoid(), a[:, 4:].tanh()
    torch.testing.assert_close(cell(x, h), u * h + (1 - u) * c)
    torch.testing.assert_close(cell(x), cell(x, torch.zeros(5, 4)))


def test_gru_reset_first_equations():
    cell = ResetFirstGRUCell(3, 4)
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    by_input, (v_r, v_z, v_n) = x @ cell.weight_ih.T + cell.bias, cell.weight_hh.chunk(3)
    r = (by_input[:, :4] + h @ v_r.T).sigmoid()
    z = (by_input[:, 4:8] + h @ v_z.T).sigmoid()
    n = (by_input[:, 8:] + (r * h) @ v_n.T).tanh()
    torch.testing.assert_close(cell(x, h), z * h + (1 - z) * n)
    torch.testing.assert_close(cell(x), cell(x, torch.zeros(5, 4)))


def test_gru_reset_first_is_torchs_where_the_recurrent_weight_is_diagonal():
    """Then r * (V h) and V (r * h) are the same; where it is not, they differ."""
    ours, torchs = ResetFirstGRUCell(3, 4), torch.nn.GRUCell(3, 4)
    with torch.no_grad():
        torchs.weight_ih.copy_(ours.weight_ih)
        torchs.weight_hh.copy_(ours.weight_hh)
        torchs.bias_ih.copy_(ours.bias.normal_())
        torchs.bias_hh.zero_()
        x, h = torch.randn(5, 3), torch.randn(5, 4)
        assert not torch.allclose(ours(x, h), torchs(x, h), atol=1e-3)
        for cell in (ours, torchs):
            cell.weight_hh[8:] = torch.diag(torch.arange(4.0))
        torch.testing.assert_close(ours(x, h), torchs(x, h))


def test_leaky_equations_and_limits():
    cell = LeakyRNNCell(3, 4, dt=20, tau=100)
    x, h = torch.randn(5, 3), torch.randn(5, 4)
    drive = torch.tanh(x @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias)
    torch.testing.assert_close(cell(x, h), 0.8 * h + 0.2 * drive)
    for dt, tau in ((0, 1), (2, 1), (-1, 1)):
        with pytest.raises(ValueError, match="0 < dt <= tau"):
            LeakyRNNCell(3, 4, dt=dt, tau=tau)


@pytest.mark.parametrize("name", LAYERS)
def test_initial_weights_come_from_the_generator(name):
    state = torch.get_rng_state()
    a, b = make(name), make(name)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(a.cell.weight_hh, b.cell.weight_hh)


@pytest.mark.parametrize("name", LAYERS)
def test_a_probe_sees_every_state(name):
    layer = make(name)
    x = torch.randn(4, 9, 3)
    with dynprobe.attach(layer) as probe:
        states, final = layer(x)
        layer(x[:2, :5])
    rec = probe.recording("cell")
    assert rec.lengths.tolist() == [9] * 4 + [5] * 2
    assert torch.equal(rec.states[:4], states)
    assert torch.equal(rec.final[:4], final)
    rollout = probe.recurrence().rollout(rec.initial, rec.inputs)
    torch.testing.assert_close(rollout[:4], states)
    assert not probe.analyze().failures


@pytest.mark.parametrize("name", LAYERS)
def test_closed_forms(name):
    recurrence = dynprobe.attach(make(name)).recurrence()
    generator = torch.Generator().manual_seed(1)
    s = torch.rand(20, 6, generator=generator, dtype=torch.float64) * 2 - 1
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    for closed, numeric in (
        (recurrence.jacobian(s, x), autograd_jacobian(lambda q: recurrence.step(q, x), s)),
        (recurrence.root_jacobian(s, x), autograd_jacobian(lambda q: recurrence.root(q, x), s)),
    ):
        torch.testing.assert_close(closed, numeric, rtol=1e-12, atol=1e-13)
    assert (recurrence.step(s, x).abs() <= recurrence.bound(x)).all()
    fixed = dynprobe.find_fixed_points(recurrence, s).unique().states
    assert len(fixed) >= 1
    zero = fixed.new_zeros(len(fixed), 3)
    for form in (recurrence.root(fixed, zero), recurrence.step(fixed, zero) - fixed):
        assert form.abs().max() <= 1e-9


def test_time_constants_of_a_leaky_network_are_in_milliseconds():
    layer = make("leaky", dt=10.0, tau=100.0)
    with torch.no_grad():
        layer.cell.weight_hh.zero_()
    with dynprobe.attach(layer, dt=10.0, unit="ms") as probe:
        layer(0.1 * torch.randn(10, 20, 3))
    direction = probe.analyze()["integration_direction"]
    # one Euler step multiplies by 1 - dt / tau
    assert direction.time_constants[0, 1] == pytest.approx(-10 / math.log(0.9), rel=1e-9)
    assert direction.unit == "ms"


@pytest.mark.parametrize("name", LAYERS)
def test_an_initial_state_as_torchs_layers_take_it_is_refused(name):
    with pytest.raises(ValueError, match=r"Pass \(batch, hidden\)"):
        make(name)(torch.zeros(2, 5, 3), torch.zeros(1, 2, 6))


@pytest.mark.parametrize("name", LAYERS)
def test_closed_forms_are_detached(name):
    recurrence = dynprobe.attach(make(name)).recurrence()
    s, x = torch.rand(4, 6, requires_grad=True), torch.rand(4, 3, requires_grad=True)
    for form in ("jacobian", "input_jacobian", "root_jacobian"):
        assert not getattr(recurrence, form)(s, x).requires_grad, form


def test_an_empty_sequence():
    with pytest.raises(ValueError, match="no step to run over"):
        make("ugrnn")(torch.zeros(2, 0, 3))
