"""Mamba-1, its scan with a backward pass of its own, and a classifier made of it."""

from dynprobe.nn.mamba import observer as _observer  # noqa: F401  (registers itself)
from dynprobe.nn.mamba.classifier import MambaClassifier
from dynprobe.nn.mamba.mixer import MambaBlock, MambaMixer
from dynprobe.nn.mamba.scan import scan_states, selective_scan

__all__ = ["MambaBlock", "MambaClassifier", "MambaMixer", "scan_states", "selective_scan"]
