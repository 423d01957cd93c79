"""Pushes off a manifold: known ratios, and large affine states without their matrices."""

from __future__ import annotations

import json
import math

import hf_models
import pytest
import torch

import dynprobe
from dynprobe.dynamics.pushes import Answer
from dynprobe.errors import ShapeError
from dynprobe.nn import LinearTransformerConfig, LinearTransformerForCausalLM
from dynprobe.testing import ring_attractor, ring_states

PLANE = torch.eye(3, dtype=torch.float64)[:2]


def linear(*rows):
    matrix = torch.tensor(rows, dtype=torch.float64)
    return dynprobe.as_recurrence(
        lambda s, x: s @ matrix.T + x, state_dim=len(matrix), input_dim=len(matrix)
    )


def sheet():
    """diag(1, 1, 1/2): a plane attractor."""
    return linear([1, 0, 0], [0, 1, 0], [0, 0, 0.5])


def test_a_plane_attractor_returns_by_halves_and_stays_along():
    states = torch.randn(10, 3, dtype=torch.float64)
    result = dynprobe.attraction(sheet(), states, manifold=PLANE, steps=10, directions=4)
    assert len(result.off) == len(result.along) == 40
    halves = 0.5 ** torch.arange(11, dtype=torch.float64)
    torch.testing.assert_close(result.off.off, halves.expand(40, -1))
    assert result.off.along.abs().max() <= 1e-12
    torch.testing.assert_close(result.along.along, torch.ones(40, 11, dtype=torch.float64))
    assert result.along.off.abs().max() <= 1e-12
    torch.testing.assert_close(result.off.half_life, torch.ones(40, dtype=torch.float64))
    assert result.along.half_life.isinf().all()
    assert (result.answer, result.along.answer) == (Answer.RETURNS, Answer.STAYS)
    assert result.steps == 10
    assert result.manifold_dims.tolist() == [2] * 10
    assert result.off.point.tolist() == [i for i in range(10) for _ in range(4)]
    # percentiles of what is the same everywhere
    torch.testing.assert_close(result.off.percentiles(result.off.off), halves.expand(3, -1))


def test_fixed_points_bring_their_own_manifold_and_input():
    fp = dynprobe.find_fixed_points(sheet(), torch.randn(5, 3, dtype=torch.float64))
    result = dynprobe.attraction(sheet(), fp, steps=3)
    assert result.manifold_dims.tolist() == [2] * 5
    assert result.scale == fp.scale
    torch.testing.assert_close(result.off.off[:, -1], torch.full((40,), 0.125).double())
    torch.testing.assert_close(result.along.along[:, -1], torch.ones(40).double())


def test_a_push_that_moves_onto_the_manifold_is_told_from_one_that_dies():
    """A push along y ends up along x, half of it: s_x gains 0.25 y each step while y halves."""
    shear = linear([1, 0.25], [0, 0.5])
    basis = torch.tensor([[1.0, 0.0]])
    result = dynprobe.attraction(shear, torch.ones(3, 2), manifold=basis, steps=60)
    assert result.answer == Answer.RETURNS
    torch.testing.assert_close(result.off.crossed[:, -1], torch.full((24,), 0.5).double())
    torch.testing.assert_close(result.off.half_life, torch.ones(24, dtype=torch.float64))


def test_transient_growth_is_shown():
    """A non-normal map with eigenvalues 0.9 and 0.5 makes a push six times as long first."""
    matrix = torch.tensor([[0.9, 5.0], [0.0, 0.5]], dtype=torch.float64)
    push = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    result = dynprobe.attraction(linear(*matrix.tolist()), torch.ones(1, 2), directions=push)
    powers = torch.stack([torch.linalg.matrix_power(matrix, t) @ push[0] for t in range(51)])
    torch.testing.assert_close(result.off.total[0], powers.norm(dim=1))
    assert float(result.off.peak) == pytest.approx(float(powers.norm(dim=1).max()))
    assert float(result.off.peak) > 6
    assert result.answer == Answer.RETURNS  # in the end
    # the half-life is that of the fall after the growth
    last = int((powers.norm(dim=1) > 0.5).nonzero().max())
    assert last < float(result.off.half_life) <= last + 1
    assert "peak 7.55" in repr(result)


def test_without_a_part_along_the_manifold_there_is_no_control():
    off = torch.tensor([[0.0, 0.0, 1.0]])
    result = dynprobe.attraction(sheet(), torch.ones(2, 3), manifold=PLANE, directions=off)
    assert result.along is None
    assert result.answer == Answer.RETURNS


def test_growth_is_called_by_its_name_and_overflow_does_no_harm():
    result = dynprobe.attraction(linear([1.1]), torch.ones(2, 1), steps=20)
    torch.testing.assert_close(result.off.total[:, -1], torch.full((16,), 1.1**20).double())
    assert result.answer == Answer.GROWS
    quartic = dynprobe.as_recurrence(lambda s, x: s + s**4, state_dim=1, input_dim=1)
    over = dynprobe.attraction(quartic, torch.zeros(2, 1), size=2.0, steps=50)
    assert over.answer == Answer.GROWS
    assert over.off.total[:, -1].isinf().any()
    assert not over.off.percentiles(over.off.off).isnan().any()


def test_a_ring_attractor_returns_to_the_ring_and_stays_on_it():
    module, radius = ring_attractor(64)
    recurrence = dynprobe.attach(module).recurrence()
    phases = torch.linspace(0, 6, 20, dtype=torch.float64)
    fp = dynprobe.find_fixed_points(recurrence, ring_states(64, radius, phases))
    result = dynprobe.attraction(recurrence, fp, size=0.01)
    assert result.manifold_dims.tolist() == [1] * 20
    assert (result.answer, result.along.answer) == (Answer.RETURNS, Answer.STAYS)
    assert result.off.off[:, -1].max() <= 1e-3
    # the part of a push along the left null vector is what stays: none of the right one's alone
    left, right = fp.left[:, 0], fp.right[:, 0]
    push = torch.randn(1, 64, dtype=torch.float64)
    one = dynprobe.attraction(recurrence, fp, size=1e-5, directions=push)
    off = push - (right @ push.T) * right
    selected = (left @ off.T).diagonal() if off.dim() == 1 else (left * off).sum(1)
    selected = selected / off.norm(dim=1) / (left * right).sum(1)
    torch.testing.assert_close(one.off.crossed[:, -1], selected.abs(), atol=1e-4, rtol=0)
    torch.testing.assert_close(one.along.along[:, -1], torch.ones(20).double(), atol=1e-3, rtol=0)


def linear_attention(decay):
    config = LinearTransformerConfig(
        vocab_size=30,
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        decay=decay,
        normalize=False,
    )
    model = LinearTransformerForCausalLM(config).eval()
    ids = torch.randint(3, 30, (3, 12))
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(ids, use_cache=False)
    key = probe.layers[0].key
    return probe.recurrence(key), probe.recording(key)


@pytest.mark.parametrize("decay", [None, [0.9, 0.9]])
def test_linear_attention_keeps_a_push_and_a_decay_wears_it_off(decay):
    recurrence, rec = linear_attention(decay)
    assert recurrence.state_dim == 2048
    manifold = rec.pca(2).components
    starts, inputs = rec.states[:, 0], rec.inputs[:, 1:]
    result = dynprobe.attraction(recurrence, starts, inputs, manifold=manifold)
    assert result.steps == 11
    a = 1.0 if decay is None else 0.9
    expected = a ** torch.arange(12, dtype=torch.float64)
    torch.testing.assert_close(result.off.off, expected.expand(24, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(result.along.along, expected.expand(24, -1), atol=1e-6, rtol=0)
    if decay is None:
        assert result.answer == Answer.STAYS
        assert result.off.half_life.isinf().all()
    else:
        assert result.answer == Answer.RETURNS
        half = math.log(0.5) / math.log(0.9)
        assert result.off.half_life.tolist() == pytest.approx([half] * 24, abs=1e-3)


def test_mamba_forgets_a_push_as_its_decays_say(monkeypatch):
    model = hf_models.BY_NAME["mamba"].build()
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(torch.randint(3, hf_models.VOCABULARY, (2, 9)), use_cache=False)
    key = probe.layers[0].key
    recurrence, rec = probe.recurrence(key), probe.recording(key)

    def never(*args):
        raise AssertionError("a Jacobian was formed")

    monkeypatch.setattr(recurrence, "jacobian", never)
    starts, inputs = rec.states[:, 0], rec.inputs[:, 1:]
    push = torch.randn(1, recurrence.state_dim, dtype=torch.float64)
    result = dynprobe.attraction(recurrence, starts, inputs, directions=push)
    left = push.expand(2, -1)
    for x in inputs.double().unbind(1):
        left = recurrence.affine(x).eigenvalues() * left
    expected = left.norm(dim=1) / push.norm()
    torch.testing.assert_close(result.off.total[:, -1], expected, atol=1e-9, rtol=1e-6)


def test_an_input_held_for_each_point():
    """s' = x s: each point decays at the rate it is given."""
    gate = dynprobe.as_recurrence(lambda s, x: x * s, state_dim=1, input_dim=1)
    rates = torch.tensor([[0.5], [0.9]])
    result = dynprobe.attraction(gate, torch.ones(2, 1), rates, steps=4, directions=1)
    assert result.off.total[:, -1].tolist() == pytest.approx([0.5**4, 0.9**4], rel=1e-6)


def test_seeds_are_explicit_and_random_state_is_not_touched():
    states = torch.randn(4, 3, dtype=torch.float64)
    before = torch.random.get_rng_state()
    a, b, c = (
        dynprobe.attraction(linear([0.9, 1, 0], [0, 0.8, 0], [0, 0, 0.1]), states, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(a.off.off, b.off.off)
    assert not torch.equal(a.off.off, c.off.off)


def test_results_are_plain_in_json():
    result = dynprobe.attraction(sheet(), torch.ones(2, 3), manifold=PLANE, steps=2)
    back = json.loads(json.dumps(result.to_dict()))
    assert back["off"]["answer"] == "returns"
    assert back["along"]["off"] == [[0.0] * 3] * 3 or back["along"]["off"][0][0] < 1e-12


def test_bad_input_is_named():
    system, states = sheet(), torch.randn(4, 3, dtype=torch.float64)

    def push(points=states, inputs=None, **options):
        return dynprobe.attraction(system, points, inputs, **options)

    with pytest.raises(ShapeError, match=r"manifold has shape \(2, 2\)"):
        push(manifold=torch.eye(2))
    with pytest.raises(ShapeError, match="not orthonormal"):
        push(manifold=2 * PLANE)
    with pytest.raises(ShapeError, match="not orthonormal"):
        push(manifold=PLANE * math.nan)
    with pytest.raises(ShapeError, match="fills the whole"):
        push(manifold=torch.eye(3))
    with pytest.raises(ShapeError, match="no states"):
        push(states[:0])
    with pytest.raises(ShapeError, match="State 0 holds NaN"):
        push(states * math.nan)
    with pytest.raises(ShapeError, match=r"needs \(points, 3\)"):
        push(states[:, :2])
    with pytest.raises(ShapeError, match="inputs has shape"):
        push(inputs=torch.zeros(2))
    with pytest.raises(ShapeError, match=r"sequences \(4, steps, 3\)"):
        push(inputs=torch.zeros(3, 5, 3))
    with pytest.raises(ShapeError, match="inputs hold NaN"):
        push(inputs=torch.full((4, 5, 3), math.nan))
    with pytest.raises(ShapeError, match="steps=9, but"):
        push(inputs=torch.zeros(4, 5, 3), steps=9)
    with pytest.raises(ShapeError, match="steps=0"):
        push(steps=0)
    with pytest.raises(ShapeError, match="size=-1"):
        push(size=-1)
    with pytest.raises(ShapeError, match="directions=0"):
        push(directions=0)
    with pytest.raises(ShapeError, match="directions have shape"):
        push(directions=torch.zeros(2, 2))
    with pytest.raises(ShapeError, match="A direction is zero"):
        push(directions=torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="part off the manifold"):
        push(directions=PLANE, manifold=PLANE)
    fp = dynprobe.find_fixed_points(system, states)
    with pytest.raises(ShapeError, match="give manifold="):
        push(fp, torch.zeros(4, 5, 3))
