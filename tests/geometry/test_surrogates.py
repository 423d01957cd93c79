"""What surrogates keep, and what they do not."""

from __future__ import annotations

import pytest
import torch

from dynprobe.geometry.surrogates import amplitude_adjusted, phase_shifted, random_phases


def drawn(time, seed=0):
    return random_phases(time, torch.Generator().manual_seed(seed))


def ties(time, seed=0):
    return torch.randperm(time, generator=torch.Generator().manual_seed(seed))


def smooth(time, features=3):
    """Noise with a memory of some ten steps, features that depend on each other."""
    x = torch.randn(time, features, dtype=torch.float64)
    for t in range(1, time):
        x[t] += 0.9 * x[t - 1]
    return x + 0.5 * x[:, :1] + 2


@pytest.mark.parametrize("time", [1, 2, 3, 64, 65])
def test_phase_shifted_series_keep_spectra_and_means(time):
    x = smooth(time)
    y = phase_shifted(x, drawn(time))
    before, after = torch.fft.rfft(x, dim=0), torch.fft.rfft(y, dim=0)
    torch.testing.assert_close(after.abs(), before.abs())
    torch.testing.assert_close(y.mean(0), x.mean(0))
    # the same phases for all: cross-spectra, and so all cross-correlations, are kept
    cross = before.unsqueeze(-1) * before.conj().unsqueeze(-2)
    torch.testing.assert_close(after.unsqueeze(-1) * after.conj().unsqueeze(-2), cross)
    torch.testing.assert_close((y - y.mean(0)).T @ y, (x - x.mean(0)).T @ x)
    if time > 2:
        assert (y - x).norm() > 0.1 * x.norm()


def test_a_sine_is_moved_by_its_phase():
    t = torch.arange(100, dtype=torch.float64)
    phases = torch.zeros(51, dtype=torch.float64)
    phases[3] = torch.pi / 2
    x = torch.cos(2 * torch.pi * 3 * t / 100)
    expected = -torch.sin(2 * torch.pi * 3 * t / 100)
    torch.testing.assert_close(phase_shifted(x[:, None], phases)[:, 0], expected)


@pytest.mark.parametrize("time", [0, 1, 2, 501])
def test_amplitude_adjusted_series_keep_every_value(time):
    x = smooth(time).exp()
    y = amplitude_adjusted(x, drawn(time), ties(time))
    assert torch.equal(y.sort(dim=0).values, x.sort(dim=0).values)
    same = amplitude_adjusted(x, torch.zeros(time // 2 + 1, dtype=torch.float64), ties(time))
    assert torch.equal(same, x)


def test_amplitude_adjusted_series_keep_the_autocorrelation_nearly():
    x = smooth(4000).div(4).exp()  # skewed, positive

    def at_lag(z, lag):
        z = (z - z.mean(0)) / z.std(0)
        return (z[lag:] * z[: len(z) - lag]).mean(0)

    y = amplitude_adjusted(x, drawn(4000), ties(4000))
    assert not torch.equal(x, y)
    for lag in (1, 5):
        torch.testing.assert_close(at_lag(y, lag), at_lag(x, lag), atol=0.1, rtol=0)
    shuffled = x[torch.randperm(len(x))]
    assert at_lag(shuffled, 1).abs().max() < 0.1 < at_lag(y, 1).min()


@pytest.mark.parametrize("values", [2, 3])
def test_features_of_few_values_stay_white(values):
    """Equal values ranked in the order of time would put a ramp into the series."""
    x = torch.randint(values, (2000, 8)).double()
    x[:, -1] = x[:, 0]
    for seed in range(4):
        y = amplitude_adjusted(x, drawn(2000, seed), ties(2000, seed))
        power = torch.fft.rfft(y - y.mean(0), dim=0).abs().square()
        share = power[1:16].sum(0) / power.sum(0)  # of the lowest 1.5 % of the frequencies
        assert share.max() < 0.04
        assert torch.equal(y[:, -1], y[:, 0])  # ties are the same for all features


def test_nothing():
    for shape in ((0, 3), (5, 0)):
        x = torch.zeros(shape)
        assert phase_shifted(x, drawn(shape[0])).shape == shape
        assert amplitude_adjusted(x, drawn(shape[0]), ties(shape[0])).shape == shape


def test_phases_follow_the_seed_alone():
    torch.manual_seed(0)
    a, state = drawn(64, seed=5), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(a, drawn(64, seed=5))
    assert not torch.equal(a, drawn(64, seed=6))
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())
    assert a[0] == a[-1] == 0
    assert drawn(65)[-1] != 0
