"""Shares that are known: linear and gated maps written out, an integrator, and the exact sum."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dynprobe_evidence import Evidence, trace
from matplotlib.figure import Figure
from torch import nn

import dynprobe

torch.set_num_threads(1)


def drawn(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def total(t):
    return t.contributions.sum(1) + t.initial + t.own + t.bias


A = 0.9 * torch.linalg.qr(drawn(5, 5, seed=1))[0]
B = drawn(5, 3, seed=2)
W = drawn(2, 5, seed=3)
BIAS = drawn(2, seed=4)
LENGTHS = torch.tensor([12, 12, 7, 1])


@pytest.mark.parametrize("linear", [False, True])
def test_a_linear_network_is_taken_apart_exactly(linear):
    rnn = dynprobe.as_recurrence(lambda s, x: s @ A.T + x @ B.T, state_dim=5, input_dim=3)
    s0, x = drawn(4, 5, seed=5), drawn(4, 12, 3, seed=6)
    ref = torch.zeros(3)
    found = trace(rnn, W, BIAS, s0, x, LENGTHS, ref, linear=linear)
    for b, n in enumerate(LENGTHS.tolist()):
        for t in range(n):
            expected = W @ torch.linalg.matrix_power(A, n - 1 - t) @ B @ x[b, t]
            torch.testing.assert_close(found.contributions[b, t], expected)
        torch.testing.assert_close(found.initial[b], W @ torch.linalg.matrix_power(A, n) @ s0[b])
    assert not found.contributions[2, 7:].any()
    torch.testing.assert_close(found.own, torch.zeros(4, 2).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.replaced, found.contributions)
    torch.testing.assert_close(total(found), found.logits)


def test_with_a_reference_and_a_bias_the_network_has_a_share_of_its_own():
    offset, ref = drawn(5, seed=7), drawn(3, seed=8)
    rnn = dynprobe.as_recurrence(lambda s, x: s @ A.T + x @ B.T + offset, state_dim=5, input_dim=3)
    s0, x = torch.zeros(1, 5), drawn(1, 9, 3, seed=6)
    found = trace(rnn, W, None, s0, x, torch.tensor([9]), ref)
    carried = sum(torch.linalg.matrix_power(A, k) for k in range(9))
    torch.testing.assert_close(found.own[0], W @ carried @ (B @ ref + offset))
    torch.testing.assert_close(total(found), found.logits)


def test_a_gated_affine_map_by_its_products_of_gates():
    """s' = a(x) s + b(x), numbers that decay apart: the closed form is written out."""

    def step(s, x):
        return x[:, :5].sigmoid() * s + x[:, 5:]

    rnn = dynprobe.as_recurrence(step, state_dim=5, input_dim=10)
    s0, x, ref = drawn(2, 5), drawn(2, 8, 10, seed=1), drawn(10, seed=2)
    found = trace(rnn, W, BIAS, s0, x, torch.tensor([8, 5]), ref)
    for b, n in enumerate((8, 5)):
        s = s0[b]
        for t in range(n):
            later = x[b, t + 1 : n, :5].sigmoid().prod(0)
            push = (x[b, t, :5].sigmoid() - ref[:5].sigmoid()) * s + x[b, t, 5:] - ref[5:]
            torch.testing.assert_close(found.contributions[b, t], W @ (later * push))
            s = x[b, t, :5].sigmoid() * s + x[b, t, 5:]
    torch.testing.assert_close(total(found), found.logits)
    # the gates after a token do not depend on it, so replacing it is what the share says
    torch.testing.assert_close(found.replaced, found.contributions)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_sum_is_exact_for_any_network(cell, linear):
    module = cell(3, 6, batch_first=True)
    rnn = dynprobe.attach(module).recurrence()
    w = drawn(4, rnn.state_dim)
    s0, x = 0.3 * drawn(4, rnn.state_dim), 2 * drawn(4, 12, 3, seed=1)
    found = trace(rnn, w, None, s0, x, LENGTHS, x.mean((0, 1)), linear=linear)
    torch.testing.assert_close(total(found), found.logits, atol=1e-10, rtol=0)
    for b, n in enumerate(LENGTHS.tolist()):  # and so are the replaced runs
        for t in range(n):
            other = x[b : b + 1, :n].clone()
            other[:, t] = x.mean((0, 1))
            end = rnn.rollout(s0[b : b + 1], other)[0, -1]
            expected = found.logits[b] - w @ end
            torch.testing.assert_close(found.replaced[b, t], expected, atol=1e-10, rtol=0)


WORDS = ("left", "right", "the")


def integrator():
    """nn.RNN and readout: left words push one unit, right words the other, both remember."""
    model = nn.ModuleDict(
        {
            "emb": nn.Embedding(3, 2),
            "rnn": nn.RNN(2, 2, batch_first=True, bias=False),
            "read": nn.Linear(2, 2, bias=False),
        }
    )
    with torch.no_grad():
        model["emb"].weight.copy_(torch.tensor([[0.04, 0.0], [0.0, 0.04], [0.0, 0.0]]))
        model["rnn"].weight_ih_l0.copy_(torch.eye(2))
        model["rnn"].weight_hh_l0.copy_(torch.eye(2))
        model["read"].weight.copy_(10 * torch.eye(2))
    model.forward = lambda ids: model["read"](model["rnn"](model["emb"](ids))[0][:, -1])
    return model


def recorded(tokens):
    model = integrator()
    with torch.no_grad(), dynprobe.attach(model, vocabulary=WORDS) as probe:
        model(tokens)
    return probe


TOKENS = torch.randint(0, 3, (6, 12), generator=torch.Generator().manual_seed(0))


def test_an_integrator_counts_its_words():
    report = recorded(TOKENS).analyze([Evidence(reference="zero", relative=False)])
    found = report["evidence"]
    for sequence in found.sequences:
        total = sequence.contributions.sum(0) + sequence.initial + sequence.own + sequence.bias
        torch.testing.assert_close(total, sequence.logits)
        for token, share in zip(sequence.tokens, sequence.contributions, strict=True):
            expected = {"left": [0.4, 0], "right": [0, 0.4], "the": [0, 0]}[token]
            # tanh loses some of it; a neutral word has exactly none
            torch.testing.assert_close(share, torch.tensor(expected).double(), atol=0.15, rtol=0)
            assert float((share * (share < 0)).sum()) == 0
    assert found.linear_error < 0.1
    assert found.correlation > 0.99
    assert found.replay_error < 1e-5
    assert found.classes == ("class 0", "class 1")
    assert "against replacing the token" in str(report)
    json.dumps(report.to_dict())


def test_relative_to_the_mean_over_classes_what_both_share_is_gone():
    raw, less = (
        recorded(TOKENS).analyze([Evidence(relative=r)])["evidence"] for r in (False, True)
    )
    for a, b in zip(raw.sequences, less.sequences, strict=True):
        c = a.contributions
        torch.testing.assert_close(b.contributions, c - c.mean(1, keepdim=True), atol=1e-9, rtol=0)
        assert b.logits.sum().abs() < 1e-6


def test_an_unknown_initial_state_takes_the_first_token_with_it():
    full = recorded(TOKENS).recording()
    rnn = recorded(TOKENS).recurrence()
    rec = dynprobe.Recording.from_arrays(full.states, inputs=full.inputs, labels=[0] * 6)
    rec.readout = full.readout
    found = dynprobe.analyze(rec, [Evidence(relative=False)], recurrence=rnn)["evidence"]
    for sequence in found.sequences:
        assert bool(sequence.contributions[0].isnan().all())
        total = sequence.contributions[1:].sum(0) + sequence.initial + sequence.own
        torch.testing.assert_close(total, sequence.logits)
        assert sequence.tokens[1] == "step 2"
    assert isinstance(found.figure(), Figure)


def test_the_page_escapes_names_and_says_its_units():
    model = integrator()
    names = ("<b>left", "right & up", "the")
    with torch.no_grad(), dynprobe.attach(model, vocabulary=names) as probe:
        model(TOKENS)
    found = probe.analyze([Evidence()])["evidence"]
    page = found.to_html()
    assert "&lt;b&gt;left" in page
    assert "<b>" not in page
    assert "right␣&amp;␣up" in page
    assert "logits, less the mean over classes" in page
    assert page.count("title=") == TOKENS.numel()
    figure = found.figure()
    assert any("for" in t.get_text() for t in figure.axes[0].texts)
    assert "less the mean over classes" in figure.axes[1].get_xlabel()


def test_what_is_missing_is_said():
    rec = dynprobe.Recording.from_arrays(torch.randn(2, 5, 3))
    why = dynprobe.analyze(rec, ["evidence"]).skipped["evidence", "states"]
    assert "inputs" in why
    assert "recurrence" in why
    assert "readout" in why
    with pytest.raises(ValueError, match="'median'"):
        Evidence(reference="median")
    with pytest.raises(ValueError, match="'first'"):
        Evidence(push="first")
    model = integrator()
    with torch.no_grad(), dynprobe.attach(model, store=dynprobe.Store(every=4)) as probe:
        model(TOKENS)
    with pytest.warns(dynprobe.errors.PluginWarning, match="every step"):
        failure = probe.analyze([Evidence()]).failures["evidence", "rnn"]
    assert "every step" in str(failure)


def test_inputs_and_random_state_are_left_alone():
    before = torch.get_rng_state()
    probe = recorded(TOKENS)
    torch.set_rng_state(before)
    one, two = (probe.analyze(["evidence"])["evidence"] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.sequences[0].contributions, two.sequences[0].contributions)


def test_the_readme_runs(tmp_path):
    text = (Path(__file__).parents[1] / "README.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "evidence.html").stat().st_size > 1000
