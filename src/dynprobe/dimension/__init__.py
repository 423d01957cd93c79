"""Dimension of point clouds."""

from dynprobe.dimension.spectrum import components_for, participation_ratio

__all__ = ["components_for", "participation_ratio"]
