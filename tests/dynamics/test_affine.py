"""Affine recurrences: closed forms against long iteration, and what has no fixed point."""

from __future__ import annotations

import hf_models
import pytest
import torch

import dynprobe
from dynprobe import Status
from dynprobe.dynamics.affine import DiagonalMap


class Leaky(dynprobe.Recurrence):
    """s' = decay * s + x."""

    def __init__(self, decay):
        self.decay = torch.tensor(decay, dtype=torch.float64)
        self.layout = dynprobe.Layout.of(s=len(decay))
        self.input_dim = len(decay)

    def step(self, state, x):
        return self.decay.to(state) * state + x

    def affine(self, x):
        return DiagonalMap(self.decay.to(x).expand_as(x), x)


@pytest.mark.parametrize("name", ["mamba", "mamba2", "qwen3_next", "kimi_linear", "minimax"])
def test_closed_forms_against_long_iteration(name):
    model = hf_models.BY_NAME[name].build()
    ids = torch.randint(3, hf_models.VOCABULARY, (2, 8))
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(ids, use_cache=False)
    key = probe.layers[0].key
    rec, recurrence = probe.recording(key), probe.recurrence(key)
    x = rec.inputs[:, -1].double()
    fp = dynprobe.find_fixed_points(recurrence, rec.final, x)
    assert fp.status.tolist() == [Status.FIXED] * 2
    assert bool(fp.isolated.all())
    with torch.no_grad():
        affine = recurrence.affine(x)
    state = rec.final.double()
    slowest = float(affine.eigenvalues().abs().amax())
    steps = min(int(-30 / torch.tensor(slowest).log()) + 1, 20_000)
    for _ in range(steps):
        state = affine.apply(state)
    left = slowest**steps
    distance = (fp.states - state).norm() / fp.states.norm()
    assert distance <= 1e-9 + 2 * left * (1 + float(rec.final.norm() / fp.states.norm()))


def test_a_marginal_direction_is_no_fixed_point():
    leaky = Leaky([0.5, 1.0])
    seeds = torch.tensor([[3.0, 4.0], [-1.0, 2.0]])
    drifting = dynprobe.find_fixed_points(leaky, seeds, torch.tensor([0.0, 1.0]))
    assert drifting.status.tolist() == [Status.UNCONVERGED] * 2
    resting = dynprobe.find_fixed_points(leaky, 1e-3 * seeds)
    assert Status.FIXED not in resting.status.tolist()
    assert not resting.isolated.any()


def test_a_wide_state_needs_no_jacobian():
    wide = Leaky([0.9] * 200_000)
    fp = dynprobe.find_fixed_points(wide, torch.zeros(1, 200_000), torch.ones(200_000))
    assert fp.status.tolist() == [Status.FIXED]
    torch.testing.assert_close(fp.states, torch.full((1, 200_000), 10.0, dtype=torch.float64))


def test_the_search_finds_the_same_point():
    leaky = Leaky([0.5, 0.9, -0.3])
    searched = dynprobe.as_recurrence(leaky.step, state_dim=3, input_dim=3)
    x, seeds = torch.randn(3), torch.randn(4, 3)
    a = dynprobe.find_fixed_points(leaky, seeds, x)
    b = dynprobe.find_fixed_points(searched, seeds, x)
    torch.testing.assert_close(a.states, b.states)
    assert a.status.tolist() == b.status.tolist()
