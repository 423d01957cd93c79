"""Keeping and removing modes of linear systems, where what must happen is known."""

from __future__ import annotations

import math

import pytest
import torch

import dynprobe
from dynprobe.dynamics.ablation import (
    ablated_rollout,
    edit_of,
    modal_projector,
    oblique_projector,
    rotated,
)
from dynprobe.dynamics.prediction import horizons, prediction_error
from dynprobe.errors import ShapeError
from dynprobe.geometry.alignment import alignment
from dynprobe.testing import linear_system, ring_attractor, ring_states

N = 6


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def modes(system, k, n=N):
    """Right and left modes of the k slowest, and the projector of these."""
    lin = dynprobe.linearize(system, torch.zeros(1, n))
    right, left = lin.right[0].T[:k], lin.left[0][:k]
    return right, left, modal_projector(right, left)


def integrator():
    """Two slow modes among fast ones, not orthogonal to them."""
    system, matrix, _ = linear_system(
        [1.0, 0.98, 0.5, 0.3, -0.4, 0.1], offset=torch.zeros(N, dtype=torch.float64)
    )
    return system, matrix


def test_the_spectral_projector():
    system, matrix = integrator()
    right, _, p = modes(system, 2)
    torch.testing.assert_close(p @ p, p)
    torch.testing.assert_close(p @ matrix, matrix @ p)
    torch.testing.assert_close(p @ right.real.T, right.real.T)
    assert float(p.trace()) == pytest.approx(2)
    assert float(torch.linalg.matrix_norm(p, 2)) > 1.01  # oblique: the matrix is not normal


def test_scales_and_phases_of_the_modes_do_not_matter():
    angle = torch.tensor(0.4).double()
    turn = torch.block_diag(
        0.97 * torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2),
        torch.diag(torch.tensor([0.5, 0.2]).double()),
    )
    basis = torch.eye(4) + 0.3 * drawn(4, 4)
    matrix = basis @ turn @ torch.linalg.inv(basis)
    system = dynprobe.as_recurrence(lambda s, x: s @ matrix.T, state_dim=4, input_dim=1)
    right, left, p = modes(system, 2, n=4)
    assert right.imag.abs().max() > 0.1  # a complex pair: its plane is that of Re and Im
    expected = basis @ torch.diag(torch.tensor([1.0, 1, 0, 0]).double()) @ torch.linalg.inv(basis)
    torch.testing.assert_close(p, expected)
    phase = torch.polar(torch.tensor(3.0).double(), torch.tensor(1.1).double())
    torch.testing.assert_close(modal_projector(right * phase, left / 7), p)


def test_edits_of_a_linear_system_do_to_the_slow_modes_what_they_say_and_nothing_else():
    system, _ = integrator()
    _, left, p = modes(system, 2)
    fast = torch.eye(N) - p
    start, inputs, origin = drawn(5, N), drawn(5, 40, N, seed=1), drawn(N, seed=2)
    plain = system.rollout(start, inputs)
    # F(s) = A s + x and the edit is around o: the run of s - o has (A - I) o as a further input
    moved = inputs + (system.step(origin[None], torch.zeros(1, N)) - origin)
    kept = ablated_rollout(system, start, inputs, p, origin, "keep")
    removed = ablated_rollout(system, start, inputs, p, origin, "remove")
    around = system.rollout(start - origin, moved)
    torch.testing.assert_close(around + origin, plain)
    torch.testing.assert_close(kept - origin, around @ p.T)
    torch.testing.assert_close(removed - origin, around @ fast.T)
    amplitude = (removed - origin).to(left) @ left.T
    assert amplitude.abs().max() <= 1e-9
    # the orthogonal edit leaves none of the slow directions, but some of their amplitudes
    q = oblique_projector(*2 * [torch.linalg.svd(p).U[:, :2].T])
    torch.testing.assert_close(q, q.T)
    cleared = ablated_rollout(system, start, inputs, q, origin, "remove") - origin
    assert (cleared @ q.T).abs().max() <= 1e-9
    assert (cleared.to(left) @ left.T).abs().max() > 0.1


def test_of_a_normal_matrix_both_projectors_are_one():
    q, _ = torch.linalg.qr(drawn(N, N))
    matrix = q @ torch.diag(torch.tensor([1.0, 0.9, 0.5, 0.3, 0.2, 0.1]).double()) @ q.T
    system = dynprobe.as_recurrence(lambda s, x: s @ matrix.T, state_dim=N, input_dim=1)
    right, _, p = modes(system, 2)
    torch.testing.assert_close(p, (right.T @ right.conj()).real)
    torch.testing.assert_close(p, q[:, :2] @ q[:, :2].T)


def test_the_random_control_is_as_oblique_and_knows_nothing():
    system, _ = integrator()
    _, _, p = modes(system, 2)
    a, b = rotated(p, seed=1), rotated(p, seed=2)
    torch.testing.assert_close(a @ a, a)
    torch.testing.assert_close(torch.linalg.svdvals(a), torch.linalg.svdvals(p))
    assert torch.equal(a, rotated(p, seed=1))
    assert (a - b).norm() > 0.5
    # uniform over rotations: on average a share of rank / n of every direction
    mean = torch.stack([rotated(p, seed=i) for i in range(400)]).mean(0)
    assert (mean - torch.eye(N) * 2 / N).abs().max() < 0.1


def test_the_edit_runs_in_the_dtype_of_the_state():
    edit = edit_of(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), "keep")
    assert edit(torch.ones(2, 3), 0).dtype == torch.float32


def test_bad_arguments_are_named():
    nilpotent = dynprobe.as_recurrence(
        lambda s, x: torch.stack([s[:, 1], 0 * s[:, 0]], dim=1), state_dim=2, input_dim=1
    )
    lin = dynprobe.linearize(nilpotent, torch.zeros(1, 2))
    with pytest.raises(ShapeError):
        modal_projector(lin.right[0].T[:1], lin.left[0][:1])
    with pytest.raises(ShapeError, match="orthogonal to the whole dual"):
        oblique_projector(torch.eye(3)[:1], torch.eye(3)[1:2])
    with pytest.raises(ShapeError, match="as many directions"):
        oblique_projector(torch.eye(3)[:1], torch.eye(3)[:2])
    with pytest.raises(ValueError, match="'keep' or 'remove'"):
        edit_of(torch.eye(2), torch.zeros(2), "drop")


class TestPrediction:
    def trajectories(self, system, starts=8, time=30):
        start, inputs = drawn(starts, N, seed=3), drawn(starts, time, N, seed=4)
        states = system.rollout(start, inputs)
        return torch.cat([start[:, None], states], 1), inputs, torch.full((starts,), time)

    def test_of_a_linear_map_is_exact(self):
        system, _ = integrator()
        lin = dynprobe.linearize(system, drawn(3, N, seed=5), drawn(3, N, seed=6))
        found = prediction_error(system, lin, *self.trajectories(system))
        assert found.steps == (1, 2, 5, 10, 20)
        assert found.of_movement.max() <= 1e-12
        assert found.of_state.max() <= 1e-12
        assert found.n_starts.tolist() == [8] * 5

    def test_of_a_bent_map_is_its_second_order_term(self):
        """s' = s + e s^2 from s* = 0: the linear model stays, and all movement is error."""
        system = dynprobe.as_recurrence(lambda s, x: s + 0.01 * s**2 + x, state_dim=1, input_dim=1)
        lin = dynprobe.linearize(system, torch.zeros(1, 1))
        states = torch.tensor([[[1.0], [1.01], [1.01 + 0.01 * 1.01**2]]]).double()
        found = prediction_error(system, lin, states, torch.zeros(1, 2, 1), torch.tensor([2]))
        assert found.steps == (1, 2)
        torch.testing.assert_close(found.of_movement, torch.ones(2, dtype=torch.float64))

    def test_shorter_sequences_are_left_out_of_longer_horizons(self):
        system, _ = integrator()
        lin = dynprobe.linearize(system, torch.zeros(1, N))
        states, inputs, _ = self.trajectories(system)
        lengths = torch.tensor([1, 2, 4, 5, 9, 10, 20, 30])
        for row, length in enumerate(lengths):  # what is beyond the end must not count
            states[row, length + 1 :] = torch.nan
            inputs[row, length:] = torch.nan
        found = prediction_error(system, lin, states, inputs, lengths)
        assert found.n_starts.tolist() == [8, 7, 5, 3, 2]
        assert found.of_movement.max() <= 1e-12

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_where_nothing_moves_there_is_no_share_of_the_movement(self, dtype):
        """On a ring without input: what moves is rounding, and no movement to divide by."""
        module, radius = ring_attractor(64)
        ring = dynprobe.attach(module).recurrence()
        at = ring_states(64, radius, torch.linspace(0, 6, 20, dtype=torch.float64))
        inputs = torch.zeros(20, 10, ring.input_dim, dtype=dtype)
        states = torch.cat([at[:, None].to(dtype), ring.rollout(at.to(dtype), inputs)], 1)
        lin = dynprobe.linearize(ring, at[:3])
        found = prediction_error(ring, lin, states, inputs, torch.full((20,), 10))
        assert found.of_movement.isnan().all()
        assert (found.of_state > 0).all()
        one = states[:1].expand(5, -1, -1), inputs[:5], torch.full((5,), 10)
        assert prediction_error(ring, lin, *one).of_state.isnan().all()

    def test_a_small_movement_is_one(self):
        system = dynprobe.as_recurrence(lambda s, x: s + x, state_dim=1, input_dim=1)
        lin = dynprobe.linearize(system, torch.zeros(1, 1))
        states = torch.tensor([[[1.0], [1.0 + 1e-12]]], dtype=torch.float64)
        found = prediction_error(system, lin, states, torch.zeros(1, 1, 1), torch.ones(1).long())
        assert found.of_movement.tolist() == [pytest.approx(1)]

    def test_horizons(self):
        assert horizons(0) == ()
        assert horizons(7) == (1, 2, 5)
        assert horizons(100) == (1, 2, 5, 10, 20, 50, 100)


class TestAlignment:
    def test_against_the_known_null(self):
        """The share of a line in a random plane of R^40 is beta(1, 19): mean 1/20."""
        found = alignment(torch.eye(40).double()[:1], torch.eye(40).double()[:2], seed=0)
        assert found.share == pytest.approx(1)
        assert found.null_mean == pytest.approx(0.05, abs=0.006)
        assert found.null_std == pytest.approx(math.sqrt(19 / (20**2 * 21)), abs=0.006)
        assert found.z == pytest.approx((1 - found.null_mean) / found.null_std)
        assert found.percentile == 100

    def test_random_directions_are_not_aligned(self):
        inside = [
            abs(alignment(drawn(1, 30, seed=i), torch.eye(30).double()[:3], seed=i).z) < 3
            for i in range(20)
        ]
        assert sum(inside) >= 18

    def test_the_whole_space_has_no_null(self):
        found = alignment(drawn(2, 3), torch.eye(3).double(), seed=0)
        assert found.share == pytest.approx(1)
        assert math.isnan(found.z)
