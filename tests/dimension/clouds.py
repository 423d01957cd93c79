"""Point clouds of known dimension."""

from __future__ import annotations

import numpy as np


def embedded(x, width, seed):
    """Turned into `width` dimensions."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((width, width)))
    return np.pad(x, ((0, 0), (0, width - x.shape[1]))) @ basis


def cube(n, d, width=None, seed=0):
    x = np.random.default_rng(seed).random((n, d))
    return x if width is None else embedded(x, width, seed)


def ball(n, d, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / d)


def sphere(n, d, width, seed=0):
    """Curved, without an edge: d dimensions in at least d + 1."""
    x = np.random.default_rng(seed).standard_normal((n, d + 1))
    return embedded(x / np.linalg.norm(x, axis=1, keepdims=True), width, seed)


def circle(n, seed=0):
    angle = np.random.default_rng(seed).random(n) * 2 * np.pi
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def noisy(n, d, width, noise, seed=0):
    """A flat cube with isotropic noise, which no scale below the noise sees as d-dimensional."""
    rng = np.random.default_rng(seed + 1)
    return cube(n, d, width, seed) + noise * rng.standard_normal((n, width))
