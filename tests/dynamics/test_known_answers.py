"""Networks whose fixed points are found by other means: enumeration, plain solvers, iteration."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from oracles import distinct, levenberg_marquardt, newton, polished
from torch import nn

import dynprobe
from dynprobe import Status


def network(kind, inputs, units, gain, layers=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    module = kind(inputs, units, num_layers=layers, batch_first=True)
    with torch.no_grad():
        for name, p in module.named_parameters():
            draw = torch.randn(p.shape, generator=generator)
            p.copy_(draw * (gain / math.sqrt(units) if "weight_hh" in name else 0.3))
    return module


def normal(n, width, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, width, generator=generator, dtype=torch.float64)


def matched(found, reference, within=1e-6):
    """The same points, in whatever order."""
    assert len(found) == len(reference)
    if len(found) == 0:
        return
    distance = (found[:, None] - reference[None]).norm(dim=-1)
    assert distance.amin(0).max() <= within
    assert distance.amin(1).max() <= within


@pytest.mark.parametrize("seed", range(6))
def test_a_relu_network_against_the_enumeration_of_its_regions(seed):
    n = 5
    module = nn.RNN(1, n, nonlinearity="relu", batch_first=True, dtype=torch.float64)
    weight, bias = normal(n, n, 1.1, seed), normal(1, n, 1.0, seed + 100)[0]
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.weight_hh_l0.copy_(weight)
        module.bias_hh_l0.copy_(bias)
    exact = []
    for on in itertools.product((0.0, 1.0), repeat=n):
        d = torch.tensor(on, dtype=torch.float64)
        h = torch.linalg.solve(torch.eye(n).double() - d[:, None] * weight, d * bias)
        if torch.equal((weight @ h + bias > 0).double(), d):
            exact.append(h)
    exact = torch.stack(exact) if exact else torch.zeros(0, n).double()
    seeds = normal(600, n, 3.0).clamp(min=-1)
    fp = dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), seeds)
    matched(fp.unique().states, exact)


@pytest.mark.parametrize("dims", [1, 2])
def test_every_point_of_a_ray_or_quadrant_of_relu_units_is_fixed(dims):
    # h' = relu(sum_i v_i v_i^T h): all nonnegative mixtures of the v_i stay
    v = torch.zeros(dims, 8, dtype=torch.float64)
    v[0, :4], v[-1, 4 * (dims - 1) : 4 * dims] = 0.5, 0.5
    module = nn.RNN(1, 8, nonlinearity="relu", batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        module.weight_hh_l0.copy_(v.T @ v)
    along = 0.5 + torch.rand(30, dims, generator=torch.Generator().manual_seed(0)).double()
    seeds = along @ v + normal(30, 8, 0.05)
    fp = dynprobe.find_fixed_points(dynprobe.attach(module).recurrence(), seeds)
    assert fp.converged.all()
    assert not fp.isolated.any()
    assert (fp.null_dims == dims).all()
    assert (fp.slow_dims == dims).all()
    # seeds keep their place along it, and the null vectors span it
    torch.testing.assert_close(fp.states, (seeds @ v.T) @ v, rtol=0, atol=1e-9)
    inside = (fp.right @ v.T).square().sum((1, 2))
    torch.testing.assert_close(inside, torch.full_like(inside, dims), rtol=0, atol=1e-9)
    assert len(fp.unique()) == 30


@pytest.mark.parametrize(
    ("kind", "units", "gain"), [(nn.RNN, 10, 4.0), (nn.GRU, 8, 5.0), (nn.LSTM, 5, 5.0)]
)
def test_networks_against_two_plain_solvers(kind, units, gain):
    recurrence = dynprobe.attach(network(kind, 1, units, gain, seed=3)).recurrence()
    n = recurrence.state_dim
    zero = torch.zeros(1, 1, dtype=torch.float64)

    def step(s):
        return recurrence.step(s, zero.expand(len(s), -1))

    def jacobian(s):
        return recurrence.jacobian(s, zero.expand(len(s), -1))

    seeds = normal(300, n, 0.7)
    fp = dynprobe.find_fixed_points(recurrence, seeds)
    outputs = [fp.unique().states]
    for scale in (0.7, 0.3):
        start = normal(300, n, scale, seed=1)
        outputs += [levenberg_marquardt(step, jacobian, start), newton(step, jacobian, start)]
    bound = float(recurrence.bound(zero).max())
    reference = polished(step, jacobian, torch.cat(outputs), fp.scale, bound)
    reference = reference[(reference.abs() <= recurrence.bound(zero)).all(1)]
    assert len(reference) >= 3
    matched(fp.unique().states, reference, within=1e-5)
    assert fp.completeness[0].index_sum == 1


def test_two_layers_of_gru_as_one_system():
    model = network(nn.GRU, 2, 4, 4.0, layers=2, seed=2)
    probe = dynprobe.attach(model)
    both = probe.recurrence("all")
    fp = dynprobe.find_fixed_points(both, normal(200, 8, 0.7))
    unique = fp.unique()
    assert len(unique) >= 1
    # the lower layer does not see the upper: its fixed points are those of it alone
    lower = dynprobe.find_fixed_points(probe.recurrence("gru.l0"), normal(200, 4, 0.7)).unique()
    matched(distinct(unique.states[:, :4], 1e-6), lower.states)
    # iterated, the whole model stays
    hidden = unique.states.float().reshape(len(unique), 2, 4).transpose(0, 1).contiguous()
    with torch.no_grad():
        out, after = model(torch.zeros(len(unique), 1, 2), hidden)
    torch.testing.assert_close(after, hidden, rtol=0, atol=1e-5)


def test_conditions_share_nothing_but_the_seeds():
    recurrence = dynprobe.attach(network(nn.GRU, 1, 6, 4.0, seed=5)).recurrence()
    seeds = normal(100, 6, 0.7)
    conditions = {"low": torch.tensor([-2.0]), "high": torch.tensor([2.0])}
    fp = dynprobe.find_fixed_points(recurrence, seeds, conditions)
    for c, x in enumerate(conditions.values()):
        alone = dynprobe.find_fixed_points(recurrence, seeds, x).unique()
        matched(fp.unique()[fp.unique().condition == c].states, alone.states)
    # one input for each seed gives each seed the fixed point of its own input
    x = torch.linspace(-2, 2, 100)[:, None]
    each = dynprobe.find_fixed_points(recurrence, seeds, x)
    assert (each[:100].inputs == x.double()).all()
    fixed = each[each.converged]
    assert (recurrence.step(fixed.states, fixed.inputs) - fixed.states).abs().max() <= 1e-6
    assert fixed.count(Status.FIXED) >= 80
