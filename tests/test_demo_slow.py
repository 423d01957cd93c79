"""What the demo and real text have to show. These train; run with -m slow."""

from __future__ import annotations

import pytest
import torch

from dynprobe.study.demo import run_demo
from dynprobe.study.text_study import run_text


@pytest.mark.slow
def test_the_demo_shows_the_triangle():
    report = run_demo()
    dimension = report["manifold_dimension"]
    direction = report["integration_direction"]
    assert float(report.details["test accuracy"].split()[0]) >= 0.97
    assert 1.9 <= dimension.participation_ratio <= 2.3
    assert dimension.components_95 == 2
    assert (direction.readout.pair_angles - 120).abs().max() <= 3
    pushes = direction.deflections
    in_plane = dict(zip(pushes.tokens, pushes.visited.norm(dim=1).tolist(), strict=True))
    neutral = in_plane.pop("neutral")
    assert neutral < 0.1 * min(in_plane.values())
    assert not report.failures
    assert len(report["fixed_points"].unique) >= 3
    # two slow modes are what it counts with: alone they are enough, without them nothing is left
    test = direction.ablation
    assert test.rank == 2
    assert test.unedited.accuracy >= 0.97
    assert test.keep.accuracy >= 0.9
    assert test.remove.accuracy <= test.chance + 0.15
    assert test.remove.logit_spread <= 0.1
    assert max(o.accuracy for o in test.random_keep) <= 0.6
    assert sum(o.accuracy for o in test.random_remove) / 5 >= 0.9
    assert direction.slow_alignment.z > 10
    assert direction.readout_alignment.z > 10


@pytest.mark.slow
@pytest.mark.requires("data")
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_ag_news_end_to_end(data, cell, tmp_path):
    from dynprobe.study.text_study import TextModel

    report = run_text(data / "ag_news", model=TextModel(cell=cell))
    assert float(report.details["test accuracy"]) >= 0.85
    assert 2 <= report["manifold_dimension"].participation_ratio <= 4
    assert not report.failures
    assert report.save(tmp_path / "report.html").stat().st_size > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_states_do_not_pass_for_an_integrator(seed):
    """The control: an untrained network of the same size is not two-dimensional."""
    import dynprobe
    from dynprobe.nn import RNNClassifier
    from dynprobe.tasks import categorical

    task = categorical(3, 50)
    model = RNNClassifier(4, 3, hidden_size=64, generator=torch.Generator().manual_seed(seed))
    batch = task.sample(200, seed=seed)
    with dynprobe.attach(model) as probe, torch.no_grad():
        model(batch.tokens, batch.lengths)
    result = probe.analyze("manifold_dimension")["manifold_dimension"]
    assert result.components_95 > 3
