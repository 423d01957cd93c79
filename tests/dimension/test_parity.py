"""Agreement with scikit-dimension at its own settings."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import cube, noisy, sphere

from dynprobe.dimension import (
    GRIDE,
    MADA,
    MLE,
    MOM,
    TLE,
    CorrelationDimension,
    FisherS,
    LocalPCA,
    NeighborGraph,
    ParallelAnalysis,
    ParticipationRatio,
    TwoNN,
)

pytestmark = [
    pytest.mark.requires("skdim"),
    # it warns of 0 / 0 that it handles
    pytest.mark.filterwarnings("ignore::RuntimeWarning:skdim"),
]


@pytest.fixture(scope="module")
def reference():
    from skdim import id as estimators

    # the same function without eight seconds of compilation
    estimators.FisherS._histc = staticmethod(estimators.FisherS._histc.py_func)
    return estimators


CLOUDS = {
    "linear, 4 in 5": (cube(600, 4, 5), 4),
    "linear, 4 in 60": (cube(600, 4, 60), 4),
    "curved, 3 in 4": (sphere(600, 3, 4), 3),
    "curved, 3 in 60": (sphere(600, 3, 60), 3),
    "noisy, 3 in 5": (noisy(600, 3, 5, 0.005), 3),
    "noisy, 3 in 30": (noisy(600, 3, 30, 0.002), 3),
}
#: ours, theirs, what their fit takes, and how far from the truth the six clouds lead it
PAIRS = {
    "TwoNN": (TwoNN(), "TwoNN", {}, {}, 0.25),
    "MLE": (MLE(), "MLE", {}, {}, 0.2),
    "MLE, arithmetic": (MLE(average="arithmetic"), "MLE", {}, {"comb": "mean"}, 0.2),
    "MOM": (MOM(), "MOM", {}, {}, 0.25),
    "MADA": (MADA(), "MADA", {}, {}, 0.2),
    "TLE": (TLE(), "TLE", {}, {}, 0.25),
    "CorrInt": (CorrelationDimension(), "CorrInt", {}, {}, 0.2),
    "GRIDE, n1 = 4": (GRIDE(4), "GRIDE", {"n1": 4}, {}, 0.2),
    "FisherS": (FisherS(), "FisherS", {}, {}, 0.4),
}
_graphs = {}


def graph(cloud):
    if cloud not in _graphs:
        _graphs[cloud] = NeighborGraph.of(CLOUDS[cloud][0], 100)
    return _graphs[cloud]


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("name", PAIRS)
def test_the_same_number(reference, name, cloud):
    ours, theirs, settings, how, band = PAIRS[name]
    x, d = CLOUDS[cloud]
    expected = np.atleast_1d(getattr(reference, theirs)(**settings).fit(x, **how).dimension_)[0]
    found = ours.fit(graph(cloud)).dimension_
    assert found == pytest.approx(expected, rel=1e-9)
    assert found == pytest.approx(d, rel=band)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_same_values_point_by_point(reference, cloud):
    x = CLOUDS[cloud][0]
    for ours, theirs in ((MLE(), reference.MLE), (MOM(), reference.MOM), (MADA(), reference.MADA)):
        expected = theirs().fit(x).dimension_pw_
        np.testing.assert_allclose(ours.fit(graph(cloud)).dimension_pw_, expected, rtol=1e-6)
    expected = reference.lPCA(verbose=False).fit_pw(x, n_neighbors=100).dimension_pw_
    np.testing.assert_array_equal(LocalPCA().fit(graph(cloud)).dimension_pw_, expected)


def test_the_same_linear_dimensions(reference):
    for x, _ in CLOUDS.values():
        expected = reference.lPCA(ver="participation_ratio", verbose=False).fit(x).dimension_
        assert ParticipationRatio().fit(x).dimension_ == pytest.approx(expected, rel=1e-9)
    x = CLOUDS["noisy, 3 in 30"][0]
    expected = reference.lPCA(ver="parallel", verbose=False, random_state=0).fit(x).dimension_
    assert ParallelAnalysis().fit(x).dimension_ == expected == 3


def test_the_same_curve_over_scales(reference):
    x = CLOUDS["noisy, 3 in 30"][0]
    theirs, ours = reference.GRIDE(multiscale=True).fit(x), GRIDE().fit(x)
    np.testing.assert_array_equal(ours.scales_, theirs.scales_)
    np.testing.assert_allclose(ours.dimension_scales_, theirs.dimension_scales_, rtol=1e-9)
    np.testing.assert_allclose(ours.error_scales_, theirs.error_scales_, rtol=1e-6)
    np.testing.assert_allclose(ours.radius_scales_, theirs.radius_scales_, rtol=1e-9)
