"""What holds for every estimator: scikit-learn's checks, every kind of input, named errors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from clouds import cube
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from dynprobe import dimension
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
    VarianceThreshold,
)
from dynprobe.errors import DegenerateDataError, NonFiniteStatesError, ShapeError

# few neighbours: scikit-learn's checks fit as few as 10 points
ESTIMATORS = {
    type(e).__name__: e
    for e in (
        CorrelationDimension(2, 5),
        FisherS(),
        GRIDE(range_max=4),
        LocalPCA(5),
        MADA(5),
        MLE(5),
        MOM(5),
        ParallelAnalysis(5),
        ParticipationRatio(),
        TLE(5),
        TwoNN(),
        VarianceThreshold(),
    )
}
every = pytest.mark.parametrize("name", ESTIMATORS)


def test_none_is_forgotten():
    others = {"NeighborGraph", "components_for", "correlation_slope", "participation_ratio"}
    assert set(ESTIMATORS) == set(dimension.__all__) - others


@every
def test_scikit_learn_accepts_it(name):
    check_estimator(ESTIMATORS[name], on_skip=None)  # skipped: checks that need pandas


@every
def test_arrays_tensors_and_a_graph_agree(name):
    x = cube(120, 3, 6)
    expected = clone(ESTIMATORS[name]).fit(x).dimension_
    graph = NeighborGraph.of(x, 10)
    kinds = [torch.tensor(x), torch.tensor(x, requires_grad=True), graph]
    for given in kinds:
        fitted = clone(ESTIMATORS[name]).fit(given)
        assert fitted.dimension_ == pytest.approx(expected, rel=1e-12)
        assert fitted.n_features_in_ == 6
    single = clone(ESTIMATORS[name]).fit(torch.tensor(x, dtype=torch.float32))
    assert single.dimension_ == pytest.approx(expected, rel=1e-3)


@every
def test_dimension_of_known_clouds(name):
    """Roughly: a flat cube of 3 dimensions turned into 12."""
    estimator = clone(ESTIMATORS[name])
    if "n_neighbors" in estimator.get_params():
        estimator.set_params(n_neighbors=20)
    assert estimator.fit(cube(1500, 3, 12)).dimension_ == pytest.approx(3, rel=0.15)


@every
def test_bad_points_are_named(name):
    estimator, x = ESTIMATORS[name], torch.tensor(cube(40, 3))
    bad = x.clone()
    bad[7, 1] = torch.inf
    with pytest.raises(NonFiniteStatesError, match="first at point 7"):
        clone(estimator).fit(bad)
    with pytest.raises(ValueError, match="contains NaN"):
        clone(estimator).fit(np.full((40, 3), np.nan))
    with pytest.raises(ShapeError, match=r"\(40,\)"):
        clone(estimator).fit(x[:, 0])
    with pytest.raises(DegenerateDataError, match="All points are the same"):
        clone(estimator).fit(torch.full((40, 3), 0.1))


@pytest.mark.parametrize("name", ["LocalPCA", "MADA", "MLE", "MOM", "TLE"])
def test_too_few_points_for_the_neighbours_are_named(name):
    with pytest.raises(ShapeError, match="20 neighbours need at least 21 points and there are 15"):
        clone(ESTIMATORS[name]).set_params(n_neighbors=20).fit(cube(15, 2))
    with pytest.raises(ShapeError, match=f"{name} needs 20 neighbours and the graph holds 4"):
        clone(ESTIMATORS[name]).set_params(n_neighbors=20).fit(NeighborGraph.of(cube(30, 2), 4))


def test_the_graph_alone_loads_no_scikit_learn():
    code = "import sys, dynprobe; dynprobe.dimension.NeighborGraph; print('sklearn' in sys.modules)"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert out.strip() == "False"
    assert set(dimension.__all__) <= set(dir(dimension))
    with pytest.raises(AttributeError, match="no attribute 'DANCo'"):
        dimension.DANCo  # noqa: B018


def test_a_tensor_after_a_data_frame_forgets_its_columns():
    fitted = MLE(5)
    fitted.feature_names_in_ = np.array(["a", "b"], dtype=object)
    assert not hasattr(fitted.fit(torch.tensor(cube(30, 2))), "feature_names_in_")


@pytest.mark.requires("cuda")
@every
def test_the_same_numbers_on_an_accelerator(name):
    x = torch.as_tensor(cube(300, 3, 8))
    x = torch.cat([x, x[:5]])  # duplicates take another path
    was = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        here, there = (clone(ESTIMATORS[name]).fit(points) for points in (x, x.cuda()))
    finally:
        torch.use_deterministic_algorithms(was)
    assert there.dimension_ == pytest.approx(here.dimension_, rel=1e-9)
    shared = clone(ESTIMATORS[name]).fit(NeighborGraph.of(x.cuda(), 20))
    assert shared.dimension_ == pytest.approx(there.dimension_, rel=1e-9)
