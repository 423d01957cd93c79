"""The causal test on counting networks that are built by hand, and so known to integrate."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import pytest
import torch

import dynprobe
from dynprobe import Readout, Recording
from dynprobe.analyzers.answers import Labels
from dynprobe.analyzers.fixed_points import FixedPointSearch
from dynprobe.analyzers.integration_direction import IntegrationDirection
from dynprobe.analyzers.slow_modes import slow_modes
from dynprobe.dynamics.modes import longest_lasting
from dynprobe.nn import RNNClassifier
from dynprobe.report.html import render_html
from dynprobe.report.summary import summary

N, TIME = 40, 31


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def counter(labels=True, mixed=0.0, length=None, initial=True):
    """A tanh network that counts good against bad words along one direction.

    W = tau-long on e, fast elsewhere; words push along e, and along fast directions at random. A
    share `mixed` of the fast directions is tilted towards e, which makes it non-normal.
    """
    q, _ = torch.linalg.qr(torch.randn(N, N, generator=seeded(0), dtype=torch.float64))
    basis = q.clone()
    basis[:, 1:] = basis[:, 1:] + mixed * q[:, :1]
    lam = torch.cat([torch.tensor([1.0]), torch.linspace(-0.4, 0.4, N - 1)]).double()
    w = basis @ torch.diag(lam) @ torch.linalg.inv(basis)
    words = torch.stack([0.01 * q[:, 0], -0.01 * q[:, 0]])
    words = words + 0.01 * (q[:, 1:4] @ torch.randn(3, 2, generator=seeded(1)).double()).T
    rnn = dynprobe.as_recurrence(lambda s, x: torch.tanh(s @ w.T + x), state_dim=N, input_dim=N)
    tokens = torch.randint(0, 2, (300, TIME), generator=seeded(2))
    lengths = torch.full((300,), TIME) if length is None else length
    valid = torch.arange(TIME) < lengths[:, None]
    score = torch.where(valid, 1 - 2 * tokens, 0).sum(1)
    start = torch.zeros(300, N, dtype=torch.float64)
    inputs = words[tokens]
    rec = Recording.from_arrays(
        rnn.rollout(start, inputs),
        inputs=inputs,
        tokens=tokens,
        lengths=lengths,
        labels=(score < 0).long() if labels else None,
        initial=start if initial else None,
    )
    reader = torch.linalg.inv(basis)[0]  # the left mode: the count itself
    rec.readout = Readout(torch.stack([reader, -reader]))
    return rnn, rec


def ablation(rnn, rec, seed=0, **options):
    chosen = [
        "manifold_dimension",
        FixedPointSearch(n_seeds=16, held="zero"),
        IntegrationDirection(**{"rank": 1} | options),
    ]
    report = dynprobe.analyze(rec, chosen, recurrence=rnn, seed=seed)
    assert not report.failures
    return report["integration_direction"].ablation, report


def rows(report):
    """What the report says in its table, a line each."""
    found = summary(report, report.layers[0])["integration_direction"]
    return "\n".join(f"{row.measure}: {row.value} ({row.meaning})" for row in found)


def test_a_counter_needs_its_slow_mode_and_no_other():
    found, _ = ablation(*counter())
    assert found.rank == 1
    assert found.n_sequences == 256
    assert found.unedited.accuracy >= 0.99
    assert found.unedited.agreement == 1
    assert found.unedited.logit_change == 0
    assert found.replay_error <= 1e-12
    assert 0.5 <= found.chance <= 0.6
    assert found.keep.accuracy >= 0.99
    assert found.keep.logit_spread == pytest.approx(1, abs=0.05)
    # what is left is the origin's logits, the same for every sequence
    assert found.remove.logit_spread <= 1e-6
    assert abs(found.remove.accuracy - 0.5) <= found.chance - 0.5 + 0.1
    assert len(found.random_keep) == len(found.random_remove) == 5
    assert max(o.logit_spread for o in found.random_keep) <= 0.6
    assert sum(o.accuracy for o in found.random_remove) / 5 >= 0.9
    assert found.remove.logit_change > max(o.logit_change for o in found.random_remove)


def test_of_a_non_normal_counter_the_oblique_projector_is_exact():
    rnn, rec = counter(mixed=0.3)
    orthogonal, report = ablation(rnn, rec)
    oblique, _ = ablation(rnn, rec, projection="oblique")
    assert report["integration_direction"].departure.min() > 0.1
    assert orthogonal.obliqueness == pytest.approx(1)
    assert oblique.obliqueness > 1.2
    assert orthogonal.keep.accuracy >= 0.9
    assert oblique.keep.agreement >= 0.95
    assert oblique.keep.logit_spread == pytest.approx(1, abs=0.05)
    assert oblique.remove.logit_spread <= 0.01
    # the fast modes' shadow on the slow direction is removed with it, the amplitude only in part
    assert orthogonal.remove.logit_spread > 3 * oblique.remove.logit_spread


def test_without_labels_agreement_is_what_counts():
    found, report = ablation(*counter(labels=False))
    assert found.keep.accuracy is None
    assert 0.4 <= found.chance <= 0.6  # of its own answers
    assert found.keep.score == found.keep.agreement >= 0.99
    shown = rows(report)
    assert "agreement with the unedited run" in shown
    assert "chance" not in shown
    assert f"always its commonest answer {found.chance:.2f}" in shown
    assert "no accuracy" not in shown  # nobody gave labels


@pytest.mark.parametrize("initial", [True, False])
def test_sequences_of_many_lengths_end_where_they_end(initial):
    """Without an initial state the run starts at the first recorded one."""
    lengths = torch.randint(1, TIME + 1, (300,), generator=seeded(5))
    rnn, rec = counter(length=lengths, initial=initial)
    found, _ = ablation(rnn, rec, n_sequences=1000)
    assert found.n_sequences == (300 if initial else int((lengths > 1).sum()))
    assert found.replay_error <= 1e-12
    assert found.keep.agreement >= 0.95


def test_same_seed_same_outcome():
    rnn, rec = counter()
    (a, _), (b, _), (c, _) = (ablation(rnn, rec, seed=s, n_sequences=64) for s in (3, 3, 4))
    assert a == b
    assert a.random_keep != c.random_keep


def test_multilabel_and_single_logit_answers():
    rnn, rec = counter()
    reader = rec.readout.weight[0]
    rec.labels = torch.stack([rec.labels, 1 - rec.labels], dim=1)
    rec.readout = Readout(torch.stack([-reader, reader]))
    several, _ = ablation(rnn, rec)
    assert several.unedited.accuracy >= 0.99
    assert several.keep.accuracy >= 0.99
    rnn, rec = counter()
    rec.readout = Readout(-reader[None])
    single, _ = ablation(rnn, rec)
    assert single.unedited.accuracy >= 0.99
    assert single.remove.logit_spread <= 1e-6


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.float32])
def test_a_column_of_labels_is_classes(dtype):
    rnn, rec = counter()
    flat, _ = ablation(rnn, rec)
    rec.labels = rec.labels[:, None].to(dtype)
    column, report = ablation(rnn, rec)
    assert column == flat
    assert "accuracy (unedited" in rows(report)


def test_labels_of_none_do_not_count():
    rnn, rec = counter()
    true = rec.labels.clone()
    rec.labels[::2] = -100
    some, report = ablation(rnn, rec, n_sequences=300)
    assert some.unedited.accuracy >= 0.99
    assert (some.n_sequences, some.n_labelled) == (300, 150)
    ones = float(true[1::2].double().mean())
    assert some.chance == pytest.approx(max(ones, 1 - ones))
    assert "% of 150 sequences correctly" in render_html(report)
    rec.labels[:] = -100
    none, report = ablation(rnn, rec)
    assert none.unedited.accuracy is None
    assert "no accuracy: every label is -100" in rows(report)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (torch.zeros(300, 3), r"labels have shape \(256, 3\): needed is \(256,\) of classes"),
        (torch.zeros(300, 2, 2), r"shape \(256, 2, 2\)"),
        (torch.full((300,), 2), "a label is 2: needed are whole numbers 0 to 1"),
        (torch.full((300,), 0.3), "a label is 0.3"),
        (torch.full((300, 2), torch.nan), "a label is nan"),
    ],
)
def test_labels_that_do_not_fit_are_said_to_be_so(labels, why):
    rnn, rec = counter(labels=False)
    without, _ = ablation(rnn, rec)
    rec.labels = labels
    found, report = ablation(rnn, rec)
    assert re.search(why, found.labels_problem)
    assert found.unedited.accuracy is None
    assert found.keep == without.keep  # agreement of whole answers, as without labels
    assert found.chance == without.chance
    assert f"no accuracy: {found.labels_problem}" in rows(report)
    assert f"There is no accuracy: {found.labels_problem}." in render_html(report)


def test_unknown_answers_to_some_of_several_questions():
    labels = torch.tensor([[1, 0], [1, -100], [0, 1], [-100, -100]])
    found = Labels.of(labels, 2)
    answers = found.answers(torch.tensor([[2.0, 3.0], [1.0, 1.0], [-1.0, 2.0], [5.0, 5.0]]))
    assert answers.tolist() == [[1, 1], [1, 1], [0, 1], [1, 1]]
    assert found.accuracy(answers) == pytest.approx(4 / 5)
    assert found.chance(answers) == pytest.approx((2 + 1) / 5)
    assert found.n_sequences == 3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sequences_that_all_end_in_one_state_have_no_spread(seed, dtype):
    """Rounding must not pass for the spread that an error is measured against."""
    w = torch.randn(4, 4, generator=seeded(seed), dtype=dtype) / 2
    rnn = dynprobe.as_recurrence(
        lambda s, x: torch.tanh(s @ w.to(s).T + x), state_dim=4, input_dim=4, dtype=dtype
    )
    start = torch.randn(1, 4, generator=seeded(seed + 10), dtype=dtype).expand(10, 4)
    inputs = torch.randn(1, 9, 4, generator=seeded(seed + 20), dtype=dtype).expand(10, 9, 4)
    rec = Recording.from_arrays(rnn.rollout(start, inputs), inputs=inputs, initial=start)
    rec.readout = Readout(torch.eye(4, dtype=dtype))
    found, report = ablation(rnn, rec)
    assert math.isnan(found.replay_error)
    assert math.isnan(found.keep.logit_spread)
    assert "spread -" in rows(report)
    assert "nan" not in rows(report).split("only its")[1].split(")")[0]


def test_nothing_is_a_share_of_no_movement():
    """Of a map that keeps its state, given words that do nothing."""
    rnn = dynprobe.as_recurrence(lambda s, x: s + 0 * x.sum(), state_dim=3, input_dim=2)
    start = torch.randn(30, 3, generator=seeded(0), dtype=torch.float64)
    inputs = torch.zeros(30, 6, 2, dtype=torch.float64)
    rec = Recording.from_arrays(
        rnn.rollout(start, inputs),
        inputs=inputs,
        tokens=torch.zeros(30, 6, dtype=torch.int64),
        initial=start,
    )
    rec.readout = Readout(torch.eye(3, dtype=torch.float64))
    _, report = ablation(rnn, rec)
    assert report["integration_direction"].deflections.linear_error.isnan().all()
    assert "error of the linear model: -, -, - (" in rows(report)
    assert "- where nothing moves" in rows(report)


def test_of_all_its_modes_it_says_all():
    rnn, rec = counter()
    found, report = ablation(rnn, rec, rank=N)
    assert found.of_all
    shown = rows(report)
    assert f"with all its {N} modes" in shown
    assert f"without all its {N} modes" in shown
    assert "only its" not in shown
    assert f"with all {N} modes of one point" in render_html(report)


def test_slow_modes_are_one_set_in_the_whole_report():
    """s1 grows by 1.2, s2 lasts with tau = 19.5, and only s1 is what the states move along."""
    lam = torch.tensor([1.2, 0.95, 0.3], dtype=torch.float64)
    rnn = dynprobe.as_recurrence(lambda s, x: lam * s + x, state_dim=3, input_dim=3)
    lin = dynprobe.linearize(rnn, torch.zeros(1, 3))
    slow = slow_modes(lin, 1)
    torch.testing.assert_close(slow.spans[0].abs(), torch.eye(3, dtype=torch.float64)[:1])
    torch.testing.assert_close(
        slow.projectors[0], torch.diag(torch.tensor([1.0, 0, 0], dtype=torch.float64))
    )
    assert longest_lasting(lin.eigenvalues[0], 1).tolist() == [0]


def test_it_is_left_out_where_it_cannot_be_run():
    rnn, rec = counter()
    assert ablation(rnn, rec, n_sequences=0)[0] is None
    rec.readout = None
    assert ablation(rnn, rec)[0] is None
    rnn, rec = counter()
    states_only = Recording.from_arrays(rec.states)
    states_only.readout = rec.readout
    found, report = ablation(rnn, states_only)
    assert found is None
    assert report["integration_direction"].linear_error is None


def test_bad_options_are_named():
    for options in ({"rank": 0}, {"rank": 2.0}, {"rank": True}, {"n_points": 0}, {"n_points": -1}):
        (name,) = options
        with pytest.raises(ValueError, match=f"^{name} is .* at least 1"):
            IntegrationDirection(**options)
    with pytest.raises(ValueError, match="'orthogonal' or 'oblique'"):
        IntegrationDirection(projection="diagonal")


def test_the_numbers_are_in_the_report_and_plain():
    rnn, rec = counter()
    found, report = ablation(rnn, rec)
    direction = report["integration_direction"]
    shown = rows(report)
    for words in ("only its 1 slow mode", "without its 1 slow mode", "random directions"):
        assert words in shown
    assert "error of the linear model" in shown
    assert "non-normality" in shown
    assert f"z = {direction.slow_alignment.z:.1f}" in shown
    out = json.loads(json.dumps(direction.to_dict()))
    assert out["ablation"]["keep"]["accuracy"] == found.keep.accuracy
    assert len(out["ablation"]["random_keep"]) == 5
    assert out["slow_alignment"]["percentile"] == 100
    assert out["linear_error"]["steps"] == [1, 2, 5, 10, 20]
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.rank = 2


def test_pushes_that_the_slow_mode_selects():
    """Of both words it takes their push along e, and none of what they do to fast modes."""
    rnn, rec = counter()
    _, report = ablation(rnn, rec)
    d = report["integration_direction"].deflections
    torch.testing.assert_close(
        d.selected_length, torch.full((2,), 0.01).double(), rtol=0.02, atol=0
    )
    assert (d.exact_length > 1.1 * d.selected_length).all()
    torch.testing.assert_close(d.selection[:, 0], d.selected_length, rtol=0.02, atol=0)
    assert d.linear_error.max() <= 0.05
    assert (d.linear_length - d.exact_length).abs().max() <= 0.001
    assert report["integration_direction"].linear_error.of_movement[0] <= 0.05


@pytest.mark.requires("cuda")
def test_on_a_gpu():
    model = RNNClassifier(4, 3, hidden_size=8, generator=seeded(0)).cuda().eval()
    with dynprobe.attach(model) as probe, torch.no_grad():
        model(torch.randint(4, (40, 9), generator=seeded(1)).cuda())
    report = probe.analyze(
        ["manifold_dimension", FixedPointSearch(n_seeds=16), "integration_direction"]
    )
    assert not report.failures
    direction = report["integration_direction"]
    assert direction.ablation.replay_error <= 1e-4
    assert direction.linear_error.of_movement.device.type == "cpu"
