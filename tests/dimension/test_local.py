"""Estimators of a dimension around each point: equations written out, known dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import ball, circle, cube, sphere

from dynprobe.dimension import MLE


def distances(x):
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return np.sort(d, axis=1)[:, 1:]


def test_mle_is_its_equation():
    x = ball(60, 3)
    local = [1 / np.mean([np.log(row[5] / row[j]) for j in range(5)]) for row in distances(x)]
    fitted = MLE(n_neighbors=6).fit(x)
    np.testing.assert_allclose(fitted.dimension_pw_, local, rtol=1e-12)
    assert fitted.dimension_ == pytest.approx(1 / np.mean(1 / np.array(local)), rel=1e-12)
    arithmetic = MLE(n_neighbors=6, average="arithmetic").fit(x)
    assert arithmetic.dimension_ == pytest.approx(np.mean(local), rel=1e-12)
    assert arithmetic.dimension_ > fitted.dimension_


@pytest.mark.parametrize(
    ("x", "d", "band"),
    [
        (cube(2000, 2), 2, 0.05),
        (ball(2000, 5), 5, 0.1),
        (circle(1000), 1, 0.05),
        (sphere(2000, 3, 40), 3, 0.05),
    ],
    ids=["square", "ball", "circle", "sphere"],
)
def test_known_dimensions(x, d, band):
    assert MLE().fit(x).dimension_ == pytest.approx(d, rel=band)
