"""Linear systems are recovered from their trajectories, through delays and mixtures."""

from __future__ import annotations

import pytest
import torch

from dynprobe.errors import DegenerateDataError, NonFiniteStatesError, ShapeError
from dynprobe.similarity import conjugacy_distance, dmd


def drawn(*shape, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def system(n=4, seed=0):
    """A slowly decaying system that is not normal, with a complex pair."""
    basis = torch.eye(n, dtype=torch.float64) + 0.3 * drawn(n, n, seed=seed)
    c, s = 0.95 * torch.cos(torch.tensor(0.4)), 0.95 * torch.sin(torch.tensor(0.4))
    core = torch.diag(torch.linspace(0.99, 0.7, n, dtype=torch.float64))
    core[:2, :2] = torch.tensor([[c, -s], [s, c]])
    return basis @ core @ torch.linalg.inv(basis)


def run(matrix, offset=0.0, count=5, time=40, seed=1):
    states = [drawn(count, len(matrix), seed=seed)]
    for _ in range(time - 1):
        states.append(states[-1] @ matrix.T + offset)
    return torch.stack(states, 1)


def by_size(values):
    return sorted(values.tolist(), key=lambda v: (-abs(v), v.imag))


@pytest.mark.parametrize("delays", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 2.0])
def test_the_spectrum_of_a_linear_system_is_recovered(delays, offset):
    a = system()
    found = dmd(run(a, offset), delays=delays, rank=4)
    got, expected = by_size(found.eigenvalues), by_size(torch.linalg.eigvals(a))
    assert got == pytest.approx(expected, abs=1e-8)
    assert found.r2 == pytest.approx(1, abs=1e-12)
    assert found.r2_standing < 0.95


def test_delays_see_what_one_number_does_not_show():
    """A rotation seen through one coordinate: one state is not enough, two are."""
    a = system(2)
    seen = run(a)[..., :1]
    assert dmd(seen, rank=1).r2 < 0.95
    found = dmd(seen, delays=2, rank=2)
    assert found.r2 == pytest.approx(1, abs=1e-12)
    assert by_size(found.eigenvalues) == pytest.approx(by_size(torch.linalg.eigvals(a)), abs=1e-8)
    assert dmd(seen, delays=5).max_rank == 2


@pytest.mark.parametrize("whiten", [True, False])
def test_which_images_of_the_states_give_the_same_system(whiten):
    """Rotated and shifted into more units always; mixed by any matrix only when whitened."""
    x = run(system())
    into = torch.linalg.qr(drawn(9, 4, seed=3))[0].T
    mixed = x @ (torch.eye(4, dtype=torch.float64) + drawn(4, 4, seed=4))
    fits = [dmd(s, rank=4, whiten=whiten).matrix for s in (x, x @ into + 5, mixed)]
    assert conjugacy_distance(fits[0], fits[1]).distance < 1e-6
    assert (conjugacy_distance(fits[0], fits[2]).distance < 1e-6) == whiten


def test_another_system_is_told_apart():
    a = system()
    fits = [dmd(run(m, seed=s), rank=4, whiten=False).matrix for m, s in ((a, 1), (0.8 * a, 2))]
    assert conjugacy_distance(*fits).distance > 0.1


def test_trajectories_of_different_length_do_not_run_into_each_other():
    x = run(system())
    pieces = [x[0, :7], x[1, 3:], x[2, :2], x[3], x[4, :1]]
    found = dmd(pieces, rank=4)
    assert found.r2 == pytest.approx(1, abs=1e-12)
    short = [p for p in pieces if len(p) > 2]
    assert torch.equal(dmd(pieces, delays=2, rank=4).matrix, dmd(short, delays=2, rank=4).matrix)


def test_r2_of_noise_is_what_least_squares_leaves():
    x = drawn(1, 4000, 3, seed=5)
    found = dmd(x, rank=3)
    assert 0 <= found.r2 < 0.01
    assert found.r2_standing == pytest.approx(-1, abs=0.1)


def test_without_a_rank_components_for_99_percent_are_kept():
    x = drawn(1, 500, 5, seed=6) * torch.tensor([10, 5, 3, 0.1, 0.1], dtype=torch.float64)
    found = dmd(x)
    assert found.rank == 3
    assert found.variance_share > 0.99
    assert "rank 3" in repr(found)
    assert found.to_dict()["rank"] == 3


def test_bad_input_is_named():
    x = run(system())
    with pytest.raises(ShapeError, match="4 independent components"):
        dmd(x, rank=5)
    with pytest.raises(ShapeError, match="at least 42"):
        dmd(x, delays=41)
    with pytest.raises(ShapeError, match="delays is 0"):
        dmd(x, delays=0)
    with pytest.raises(ShapeError, match="do not determine"):
        dmd(drawn(1, 5, 8, seed=7), rank=4)
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        dmd([torch.zeros(3)])
    with pytest.raises(DegenerateDataError):
        dmd(torch.ones(2, 10, 3))
    x[1, 5, 0] = torch.inf
    with pytest.raises(NonFiniteStatesError, match="Trajectory 1"):
        dmd(x)
