"""Surrogate series: what they share with the observed ones is kept, everything else is random."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def random_phases(time: int, generator: torch.Generator) -> Tensor:
    """Phases in [0, 2 pi) for the (time // 2 + 1,) frequencies of a series, in float64.

    Those of the mean and of the highest frequency of an even length are real numbers: zero.
    """
    phases = 2 * math.pi * torch.rand(time // 2 + 1, generator=generator, dtype=torch.float64)
    phases[0] = 0
    if time % 2 == 0:
        phases[-1] = 0
    return phases


def phase_shifted(series: Tensor, phases: Tensor) -> Tensor:
    """Series with the phases of their Fourier components shifted.

    Every feature keeps its power spectrum and mean, every pair its cross-spectrum, as the shifts
    are the same for all; everything nonlinear is lost, and values become nearly Gaussian.

    Parameters
    ----------
    series : Tensor
        (time, features).
    phases : Tensor
        (time // 2 + 1,), such as :func:`random_phases` draws.

    Notes
    -----
    Theiler et al. 1992, Physica D 58, 77; alike for all features: Prichard & Theiler 1994.
    """
    if series.numel() == 0:  # transforms of nothing are an error
        return series
    spectrum = torch.fft.rfft(series.double(), dim=0)
    turn = torch.polar(torch.ones_like(phases), phases).to(spectrum.device)
    shifted: Tensor = torch.fft.irfft(spectrum * turn.unsqueeze(-1), n=len(series), dim=0)
    return shifted.to(series.dtype)


def amplitude_adjusted(series: Tensor, phases: Tensor, ties: Tensor) -> Tensor:
    """The same with the very values of every feature, in another order.

    A Gaussian series of the same ranks is shifted in phase, and the values follow its ranks. What
    is positive or bounded stays so; the spectrum is kept nearly, and becomes flatter where a
    series has few values.

    Parameters
    ----------
    series : Tensor
        (time, features).
    phases : Tensor
        (time // 2 + 1,).
    ties : Tensor
        (time,), a random permutation: which of equal values counts as the larger one, alike for
        all features. In the order of time they would rise with it, a trend that was not there.

    Notes
    -----
    Amplitude-adjusted Fourier transform, Theiler et al. 1992, section 2.4.3.
    """
    time = len(series)
    levels = (torch.arange(time, dtype=torch.float64, device=series.device) + 0.5) / max(time, 1)
    ties = ties.to(series.device)
    gaussian = torch.special.ndtri(levels)[_ranks(series[ties])][ties.argsort()]
    shifted = phase_shifted(gaussian, phases)
    return series.sort(dim=0).values.gather(0, _ranks(shifted))


def _ranks(series: Tensor) -> Tensor:
    return series.argsort(dim=0, stable=True).argsort(dim=0)
