"""Matrices of known similarities, and the analyzer of one layer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dynprobe_similarity import LayerSimilarity, similarity_matrix
from matplotlib.figure import Figure
from torch import nn

import dynprobe
from dynprobe.errors import NonFiniteStatesError, ShapeError, UnknownNameError
from dynprobe.similarity import cka, procrustes

torch.set_num_threads(1)


def drawn(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def rotation(n, seed=0):
    return torch.linalg.qr(drawn(n, n, seed=seed))[0]


def linear(matrix, seed=0, count=12, time=40):
    states = [drawn(count, len(matrix), seed=seed)]
    for _ in range(time - 1):
        states.append(states[-1] @ matrix.T)
    return torch.stack(states, 1)


def recording(states, **more):
    return dynprobe.Recording.from_arrays(states, **more)


LENGTHS = torch.tensor([40, 33, 20, 7, 40, 40, 40, 11, 40, 40, 40, 40])
MATRIX = 0.97 * rotation(4, seed=5)


@pytest.mark.parametrize("measure", ["cka", "cca", "procrustes"])
def test_rotated_states_are_the_same_and_others_are_not(measure):
    x = linear(MATRIX)
    recs = {
        "x": recording(x, lengths=LENGTHS),
        "turned, wider": recording(3 * x @ rotation(7)[:4] + 1, lengths=LENGTHS),
        "other": recording(drawn(12, 40, 5, seed=8), lengths=LENGTHS),
    }
    found = similarity_matrix(recs, measure)
    same = 0.0 if measure == "procrustes" else 1.0
    assert found["x", "turned, wider"] == pytest.approx(same, abs=1e-10)
    assert found.values.diagonal().tolist() == pytest.approx([same] * 3, abs=1e-10)
    assert torch.equal(found.values, found.values.T)
    assert abs(found["x", "other"] - same) > 0.5
    assert found.names == tuple(recs)


def test_the_values_are_those_of_the_valid_steps_alone():
    x, y = linear(MATRIX), drawn(12, 40, 3, seed=9)
    a, b = recording(x, lengths=LENGTHS), recording(y, lengths=LENGTHS)
    valid = torch.arange(40) < LENGTHS[:, None]
    found = similarity_matrix({"a": a, "b": b})
    assert found["a", "b"] == pytest.approx(cka(x[valid], y[valid]), abs=1e-12)


def test_dsa_sees_the_system_and_not_the_states():
    q = rotation(4, seed=3)
    slower = 0.8 * MATRIX @ rotation(4, seed=7)
    recs = {
        "one": recording(linear(MATRIX, seed=1)),
        "the same, elsewhere": recording(linear(q @ MATRIX @ q.T, seed=2, count=20, time=30)),
        "another": recording(linear(slower, seed=1)),
    }
    found = similarity_matrix(recs, "dsa", rank=4)
    assert all(fit.r2 == pytest.approx(1, abs=1e-9) for fit in found.fits.values())
    whitening = found["one", "the same, elsewhere"]
    assert whitening < 0.2  # other starts, so components of another shape
    assert found["one", "another"] > 3 * whitening
    # the very same trajectories mixed by any invertible matrix are conjugate exactly
    mixed = recording(linear(MATRIX, seed=1) @ drawn(4, 4, seed=4))
    exact = similarity_matrix({"one": recs["one"], "mixed": mixed}, "dsa", rank=4)
    assert exact["one", "mixed"] < 1e-6
    assert bool(exact.certain.all())


def test_a_common_rank_is_found_for_systems_of_different_size():
    small = recording(linear(torch.diag(torch.tensor([0.99, 0.9], dtype=torch.float64))))
    found = similarity_matrix({"4": recording(linear(MATRIX)), "2": small}, "dsa")
    assert {fit.rank for fit in found.fits.values()} == {2}


def test_factors_are_enough_for_what_their_inner_products_give():
    from dynprobe.nn import LinearTransformerConfig, LinearTransformerForCausalLM

    config = LinearTransformerConfig(vocab_size=20, hidden_size=32, num_attention_heads=2)
    model = LinearTransformerForCausalLM(config).eval()
    tokens = torch.randint(0, 20, (2, 25))
    names = ("model.layers.0.attention", "model.layers.1.attention")
    found = {}
    for store in ("factors", "states"):
        with torch.no_grad(), dynprobe.attach(model, store=store) as probe:
            model(tokens)
        recs = {name: probe.recording(name) for name in names}
        if store == "factors":
            assert all(not rec.complete for rec in recs.values())
        for measure in ("cka", "procrustes"):
            found[store, measure] = similarity_matrix(recs, measure)[names]
    formed = [probe.recording(name).flat().double() for name in names]
    for store in ("factors", "states"):
        assert found[store, "cka"] == pytest.approx(cka(*formed), abs=1e-5)
        assert found[store, "procrustes"] == pytest.approx(procrustes(*formed), abs=1e-4)


def test_tables_pictures_and_json():
    recs = {n: recording(linear(MATRIX, seed=i)) for i, n in enumerate(("a", "b", "c"))}
    for measure in ("cka", "dsa"):
        found = similarity_matrix(recs, measure)
        assert isinstance(found.figure(), Figure)
        assert f"{found['a', 'b']:.3f}" in str(found)
        written = {t.get_text().removeprefix("≤ ") for t in found.figure().axes[0].texts}
        assert f"{found['a', 'b']:.2f}" in written
        assert json.loads(json.dumps(found.to_dict()))["measure"] == measure


def test_bad_input_is_named():
    a = recording(linear(MATRIX))
    with pytest.raises(UnknownNameError, match="'cka'"):
        similarity_matrix({"a": a, "b": a}, "ckaa")
    with pytest.raises(ShapeError, match="two or more"):
        similarity_matrix({"a": a})
    short = recording(linear(MATRIX, time=20))
    with pytest.raises(ShapeError, match="'a' holds 12 sequences of 40 steps, 'b' 12 of 20"):
        similarity_matrix({"a": a, "b": short})
    with pytest.raises(ShapeError, match="independent components"):
        similarity_matrix({"a": a, "b": short}, "dsa", rank=9)
    bad = linear(MATRIX)
    bad[0, 3] = torch.nan
    with pytest.raises(NonFiniteStatesError):
        similarity_matrix({"a": a, "b": recording(bad)})


def test_the_analyzer_compares_what_one_layer_has():
    model = nn.LSTM(3, 8, batch_first=True)
    with dynprobe.attach(model) as probe:
        model(torch.randn(10, 30, 3))
    report = probe.analyze(["similarity", "manifold_dimension"])
    found = report["similarity"]
    assert found.cka.names == ("states", "part h", "part c", "inputs")
    rec = probe.recording()
    expected = cka(rec.part("h").flatten(0, 1), rec.part("c").flatten(0, 1))
    assert found.cka["part h", "part c"] == pytest.approx(expected, abs=1e-9)
    assert 0 < found.linear.r2 <= 1
    assert "states and inputs" in str(report)
    json.dumps(report.to_dict())


def test_states_that_copy_their_inputs_are_found_out():
    x = drawn(8, 20, 4)
    rec = recording(x @ rotation(4), inputs=x)
    found = dynprobe.analyze(rec, [LayerSimilarity(n_points=50)])["similarity"]
    assert found.cka["states", "inputs"] == pytest.approx(1, abs=1e-9)
    assert found.procrustes["states", "inputs"] == pytest.approx(0, abs=1e-9)
    assert found.linear.r2 < 0.1  # white noise is not foreseen


def test_a_constant_input_is_left_out_and_nothing_else_is_an_error():
    rec = recording(drawn(8, 20, 4), inputs=torch.zeros(8, 20, 2))
    with pytest.warns(dynprobe.errors.PluginWarning, match="nothing that varies"):
        report = dynprobe.analyze(rec, ["similarity"])
    assert "nothing that varies" in str(report.failures["similarity", "states"])
    report = dynprobe.analyze(recording(drawn(8, 20, 4)), ["similarity"])
    assert "needs the inputs" in report.skipped["similarity", "states"]


def test_the_readme_runs(tmp_path):
    text = (Path(__file__).parents[1] / "README.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
