"""Exponents that are known: linear maps, the logistic and Hénon maps, gated and random networks."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dynprobe_lyapunov import Lyapunov, kaplan_yorke, lyapunov_spectrum
from torch import nn

import dynprobe
from dynprobe.errors import NonFiniteStatesError, ShapeError

torch.set_num_threads(1)


def drawn(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def autonomous(step, n):
    return dynprobe.as_recurrence(lambda s, x: step(s), state_dim=n, input_dim=1)


def run(recurrence, start, steps, k, **options):
    inputs = torch.zeros(len(start), steps, 1)
    return lyapunov_spectrum(recurrence, start, inputs, k, **options)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_a_linear_map_has_the_logarithms_of_its_eigenvalues(k):
    values = torch.tensor([1.2, -0.9, 0.6, 0.4, 0.2, 0.1], dtype=torch.float64)
    basis = torch.eye(6, dtype=torch.float64) + 0.3 * drawn(6, 6)
    a = basis @ torch.diag(values) @ torch.linalg.inv(basis)
    found = run(autonomous(lambda s: s @ a.T, 6), drawn(3, 6, seed=1), 200, k, transient=100)
    torch.testing.assert_close(found.exponents, values.abs().log()[:k], atol=1e-10, rtol=0)
    assert found.n_steps == 300


def test_a_complex_pair_has_one_exponent_twice():
    c, s = 0.9 * math.cos(0.7), 0.9 * math.sin(0.7)
    a = torch.tensor([[c, -s, 0.0], [s, c, 0.5], [0, 0, 0.3]], dtype=torch.float64)
    found = run(autonomous(lambda s: s @ a.T, 3), drawn(2, 3), 400, 3, transient=200)
    expected = torch.tensor([0.9, 0.9, 0.3], dtype=torch.float64).log()
    torch.testing.assert_close(found.exponents, expected, atol=1e-8, rtol=0)


def test_the_logistic_map_at_4_has_ln_2():
    logistic = autonomous(lambda s: 4 * s * (1 - s), 1)
    start = torch.linspace(0.1, 0.43, 16, dtype=torch.float64)[:, None]
    found = run(logistic, start, 3000, 1, transient=100)
    assert float(found.exponents[0]) == pytest.approx(math.log(2), abs=0.003)
    assert abs(float(found.exponents[0]) - math.log(2)) < 4 * float(found.standard_error[0])


def henon(s):
    return torch.stack([1 - 1.4 * s[:, 0] ** 2 + s[:, 1], 0.3 * s[:, 0]], 1)


def test_the_henon_map():
    found = run(autonomous(henon, 2), 0.1 * drawn(16, 2), 2000, 2, transient=100)
    first, second = found.exponents.tolist()
    assert first == pytest.approx(0.419, abs=0.006)
    assert first + second == pytest.approx(math.log(0.3), abs=1e-12)  # det J = -0.3 everywhere
    assert kaplan_yorke(found.exponents, 2) == pytest.approx(1.258, abs=0.006)


def random_network(gain, n=100):
    module = nn.RNN(1, n, batch_first=True, bias=False)
    with torch.no_grad():
        module.weight_hh_l0.copy_(gain / n**0.5 * drawn(n, n, seed=3))
    return module


@pytest.mark.parametrize(("gain", "chaotic"), [(0.5, False), (2.0, True)])
def test_a_random_network_is_chaotic_above_a_gain_of_one(gain, chaotic):
    module = random_network(gain)
    with dynprobe.attach(module) as probe:
        module(torch.randn(8, 20, 1))
    found = probe.analyze([Lyapunov(k=4, inputs="zero", steps=400)])["lyapunov"]
    assert (float(found.exponents[0]) > 0.05) == chaotic
    assert (float(found.exponents[0]) < -0.3) == (not chaotic)
    # nearby states really part, or meet, at that rate
    rnn = probe.recurrence()
    final = probe.recording().final.double()
    state = rnn.rollout(final, torch.zeros(8, 200, 1, dtype=torch.float64))[:, -1]
    near = state + 1e-9 * drawn(*state.shape, seed=9)
    steps = torch.zeros(8, 30, 1, dtype=torch.float64)
    apart = (rnn.rollout(near, steps) - rnn.rollout(state, steps)).norm(dim=-1)
    rate = (apart[:, -1] / apart[:, 4]).log().mean() / 25
    assert float(rate) == pytest.approx(float(found.exponents[0]), abs=0.15)


@pytest.mark.parametrize("k", [3, 16])
def test_few_exponents_by_products_are_those_of_the_full_jacobian(k):
    module = nn.GRU(2, 16, batch_first=True)
    with dynprobe.attach(module) as probe:
        module(torch.randn(4, 60, 2))
    found = probe.analyze([Lyapunov(k=k, transient=20)])["lyapunov"]
    rnn, rec = probe.recurrence(), probe.recording()
    expected = []
    for b in range(4):  # one Jacobian after the other, written out
        s = rec.initial[b : b + 1].double()
        g = torch.Generator().manual_seed(0)
        q = torch.linalg.qr(torch.randn(4, 16, k, generator=g, dtype=torch.float64))[0][b]
        logs = []
        for x in rec.inputs[b].double():
            q, r = torch.linalg.qr(rnn.jacobian(s, x[None])[0] @ q)
            s = rnn.step(s, x[None])
            logs.append(r.diagonal().abs().log())
        expected.append(torch.stack(logs[20:]).mean(0))
    mean = torch.stack(expected).mean(0).sort(descending=True).values
    torch.testing.assert_close(found.exponents, mean.detach(), atol=1e-6, rtol=0)


def test_sequences_of_different_length_count_as_long_as_they_are():
    rate = dynprobe.as_recurrence(lambda s, x: s * x.exp(), state_dim=1, input_dim=1)
    inputs = drawn(3, 20, 1)
    lengths = torch.tensor([20, 12, 4])
    found = lyapunov_spectrum(
        rate, torch.ones(3, 1), inputs, 1, lengths=lengths, transient=5, seed=1
    )
    counted = torch.cat([inputs[0, 5:], inputs[1, 5:12]])
    assert float(found.exponents[0]) == pytest.approx(float(counted.mean()), abs=1e-12)
    assert found.n_steps == 22
    assert len(found.finite_time) == 2


def test_undecayed_linear_attention_keeps_everything_without_a_jacobian(monkeypatch):
    from dynprobe.nn import LinearTransformerConfig, LinearTransformerForCausalLM

    config = LinearTransformerConfig(vocab_size=20, hidden_size=32, num_attention_heads=2)
    model = LinearTransformerForCausalLM(config).eval()
    with torch.no_grad(), dynprobe.attach(model, store="factors") as probe:
        model(torch.randint(0, 20, (2, 30)))
    layer = "model.layers.0.attention"
    forbidden = type(probe.recurrence(layer))
    monkeypatch.setattr(forbidden, "jacobian", lambda *a: pytest.fail("a Jacobian was formed"))
    found = probe.analyze([Lyapunov(k=5)], layers=layer)["lyapunov"]
    torch.testing.assert_close(found.exponents, torch.zeros(5).double(), atol=1e-12, rtol=0)
    assert math.isnan(found.kaplan_yorke)  # five directions do not shrink: more would have to
    assert "more than 5" in dict(found.summary())["Kaplan-Yorke dimension"]


def test_what_is_forgotten_at_once_is_minus_infinity():
    shift = autonomous(lambda s: torch.stack([torch.zeros_like(s[:, 0]), 0.5 * s[:, 1]], 1), 2)
    found = run(shift, drawn(2, 2), 20, 2, transient=3)
    assert float(found.exponents[0]) == pytest.approx(math.log(0.5))
    assert found.exponents[1] == -torch.inf


def test_units_of_time():
    a = torch.diag(torch.tensor([0.9, 0.5], dtype=torch.float64))
    rnn = dynprobe.as_recurrence(lambda s, x: s @ a + x, state_dim=2, input_dim=2)
    states = rnn.rollout(drawn(4, 2), torch.zeros(4, 50, 2))
    rec = dynprobe.Recording.from_arrays(states, dt=20.0, unit="ms")
    report = dynprobe.analyze(rec, [Lyapunov()], recurrence=rnn)
    found = report["lyapunov"]
    assert float(found.exponents[0]) == pytest.approx(math.log(0.9) / 20, rel=1e-6)
    assert "per ms" in str(report)
    assert found.along == "zero input, held"


@pytest.mark.parametrize(
    ("exponents", "n", "expected"),
    [
        ([0.5, -1.0], 2, 1.5),
        ([-0.1, -0.2], 2, 0.0),
        ([0.3, 0.0, -0.1, -0.5], 4, 3.4),
        ([0.1, 0.1], 2, 2.0),
        ([0.1, 0.1], 5, math.nan),
        ([0.5, -math.inf], 2, 1.0),
    ],
)
def test_kaplan_yorke(exponents, n, expected):
    found = kaplan_yorke(torch.tensor(exponents, dtype=torch.float64), n)
    assert found == pytest.approx(expected, nan_ok=True)


def test_bad_input_is_named():
    away = autonomous(lambda s: 4 * s * (1 - s), 1)
    with pytest.raises(NonFiniteStatesError, match="leaves the numbers at step"):
        run(away, torch.tensor([[1.5]]), 50, 1)
    with pytest.raises(ShapeError, match="1 to 1"):
        run(away, torch.tensor([[0.5]]), 50, 2)
    with pytest.raises(ShapeError, match="first 10 do not count"):
        run(away, torch.tensor([[0.3]]), 5, 1, transient=10)
    with pytest.raises(ValueError, match="'median'"):
        Lyapunov(inputs="median")
    rec = dynprobe.Recording.from_arrays(torch.randn(2, 5, 1).sigmoid())
    with pytest.warns(dynprobe.errors.PluginWarning, match="does not hold the input"):
        report = dynprobe.analyze(rec, [Lyapunov(inputs="recorded")], recurrence=away)
    assert "does not hold the input" in str(report.failures["lyapunov", "states"])


def test_without_a_map_it_is_skipped_with_the_reason():
    report = dynprobe.analyze(dynprobe.Recording.from_arrays(torch.randn(2, 9, 3)), ["lyapunov"])
    assert "needs the recurrence" in report.skipped["lyapunov", "states"]


def test_installed_it_is_found_by_name_and_draws(tmp_path):
    module = random_network(1.5, 20)
    with dynprobe.attach(module) as probe:
        module(torch.randn(4, 40, 1))
    report = probe.analyze(["lyapunov"])
    assert "largest exponent" in str(report)
    report.save(tmp_path / "out")
    assert any("lyapunov" in p.name for p in (tmp_path / "out").iterdir())


def test_the_readme_runs(tmp_path):
    text = (Path(__file__).parents[1] / "README.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
