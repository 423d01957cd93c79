"""Lyapunov exponents of recurrent layers."""

from dynprobe_lyapunov.analyzer import Lyapunov, LyapunovResult
from dynprobe_lyapunov.spectrum import Spectrum, kaplan_yorke, lyapunov_spectrum

__all__ = ["Lyapunov", "LyapunovResult", "Spectrum", "kaplan_yorke", "lyapunov_spectrum"]
