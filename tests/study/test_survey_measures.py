"""Measures of the survey on systems of known answer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dynprobe.errors import ReadoutError
from dynprobe.nn import MambaClassifier
from dynprobe.study.models import build_model
from dynprobe.study.survey.horizon import Exchanges, Horizon, evidence_exchanges, horizon
from dynprobe.study.survey.measures import memory_measures
from dynprobe.study.survey.memory_readout import alignment, linear_share, memory_readout
from dynprobe.study.survey.readers import reader
from dynprobe.study.survey.shares import between, explained
from dynprobe.study.survey.views import forgetting, views
from dynprobe.study.survey.watched import material, record, watch
from dynprobe.tasks import Batch, categorical, multilabel, ordered

TASK = categorical(3, length=7)
KINDS = [
    ("gru", {}),
    ("lstm", {}),
    ("ugrnn", {}),
    ("rnn", {}),
    ("linear_transformer", {"layers": 1}),
    ("linear_transformer", {"layers": 2}),
    ("linear_transformer", {"layers": 1, "decay": "retnet"}),
    ("mamba", {}),
]


def build(kind: str, **options: object) -> torch.nn.Module:
    return build_model(
        kind, len(TASK.vocabulary), TASK.n_classes, hidden_size=16, seed=0, **options
    ).eval()


# -- shares of the variance ----------------------------------------------------------------------


def test_states_that_are_linear_in_the_evidence_are_explained_whole_and_noise_not_at_all() -> None:
    evidence, noise = torch.randn(400, 3), torch.randn(400, 6)
    assert explained(evidence @ torch.randn(3, 6) + 2, evidence) == pytest.approx(1)
    assert abs(explained(noise, evidence)) < 0.02
    # equal parts of what is known and what is not
    half = torch.cat([evidence, noise[:, :3]], dim=1)
    assert explained(half, evidence) == pytest.approx(0.5, abs=0.05)


def test_regressors_that_say_the_same_count_once() -> None:
    evidence, states = torch.randn(200, 2), torch.randn(200, 4)
    twice = torch.cat([evidence, evidence.sum(1, keepdim=True), torch.ones(200, 1)], dim=1)
    assert explained(states, twice) == pytest.approx(explained(states, evidence))


def test_what_lies_between_words_is_adjusted_for_how_many_words_there_are() -> None:
    words = torch.arange(600) % 200
    table = torch.randn(200, 5)
    assert between(table[words], words) == pytest.approx(1)
    # three points of each of 200 words: a third of pure noise lies between them by chance
    shares = [between(torch.randn(600, 5), words) for _ in range(5)]
    assert abs(sum(shares) / 5) < 0.03


def test_states_that_do_not_vary_have_no_shares() -> None:
    assert math.isnan(explained(torch.ones(9, 2), torch.randn(9, 1)))
    assert math.isnan(between(torch.randn(4, 2), torch.arange(4)))


@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(0.1, 10))
def test_shares_do_not_depend_on_units(seed: int, shift: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    states, evidence = (torch.randn(50, k, generator=generator).double() for k in (4, 2))
    states[:, :2] += evidence
    assert explained(states * scale + shift, evidence / scale - shift) == pytest.approx(
        explained(states, evidence), abs=1e-9
    )


# -- the memory horizon --------------------------------------------------------------------------


def counter(decay: float) -> object:
    """Logits that are counts of each word, older words weighing less."""

    def model(tokens: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(tokens.shape[1])
        age = (lengths[:, None] - 1 - steps).clamp(min=0)
        weight = decay**age * (steps < lengths[:, None])
        return torch.nn.functional.one_hot(tokens, 4)[..., :3].mul(weight[..., None]).sum(1)

    return model


def test_a_counter_never_forgets_and_a_leaky_one_does_at_its_half_life() -> None:
    batch = categorical(3, length=40).sample(30, seed=0)
    exchanges = evidence_exchanges(TASK.evidence, 3)
    whole = horizon(counter(1.0), batch, exchanges)
    assert whole.half_lag == math.inf
    torch.testing.assert_close(whole.relative, torch.ones(len(whole.lags), dtype=torch.float64))
    leaky = horizon(counter(0.5**0.1), batch, exchanges, range(1, 41))
    assert leaky.half_lag == pytest.approx(11)  # ten words before the last one
    torch.testing.assert_close(leaky.relative[20], torch.tensor(0.25, dtype=torch.float64))


def test_only_sequences_that_are_long_enough_are_exchanged_in() -> None:
    tokens = torch.full((4, 9), 3)
    lengths = torch.tensor([2, 9, 9, 9])
    seen = []

    def model(tokens: Tensor, lengths: Tensor) -> Tensor:
        seen.append((tokens, lengths))
        return torch.zeros(len(tokens), 3)

    found = horizon(model, Batch(tokens, lengths, lengths), evidence_exchanges(TASK.evidence, 3))
    assert found.lags == (1, 2, 3, 5, 8)
    assert all((lengths == 9).all() for _, lengths in seen)
    assert [int((t != 3).sum()) for t, _ in seen] == [3] * 10  # one word of each sequence
    assert math.isnan(found.half_lag)  # the last word does not count either


def test_the_half_lag_is_read_between_two_lags() -> None:
    assert Horizon((1, 2, 4), torch.tensor([2.0, 1.2, 0.8])).half_lag == pytest.approx(3)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (categorical(3), [[0, 1], [1, 2], [2, 0]]),
        (ordered(5), [[0, 1]]),
        (multilabel(2, neutral=True), [[0, 2], [1, 3]]),
    ],
)
def test_words_that_are_exchanged_speak_for_different_answers(task, words) -> None:
    found = evidence_exchanges(task.evidence, task.n_classes)
    assert found.words.tolist() == words
    assert isinstance(found, Exchanges)
    if task.n_classes == 5:
        assert found.margins.tolist() == [[-1, 0, 0, 0, 1]]


# -- the memory's readout ------------------------------------------------------------------------


def test_a_linear_readout_is_found_as_it_is() -> None:
    weight, memories = torch.randn(3, 8), torch.randn(50, 8)
    found = memory_readout(lambda s: s @ weight.T + 1, memories, margins=True)
    torch.testing.assert_close(found.weight, weight.double())
    assert found.share == pytest.approx(1)
    assert found.linear


def test_where_gradients_cancel_no_linear_readout_exists() -> None:
    memories = torch.randn(500, 1)
    memories = torch.cat([memories, -memories])
    found = memory_readout(lambda s: s.abs(), memories, margins=False)
    assert found.share == pytest.approx(0)
    assert not found.linear


def test_a_common_shift_of_logits_counts_only_where_several_labels_may_hold() -> None:
    logits, shift = torch.randn(60, 3), torch.randn(60, 1)
    assert linear_share(logits + shift, logits, margins=True) == pytest.approx(1)
    assert linear_share(logits + shift, logits, margins=False) < 0.95
    assert alignment(logits + shift, 3 * logits, margins=True) == pytest.approx(1)
    assert alignment(logits, -logits, margins=False) == pytest.approx(-1)


# -- reading a memory under a probe word ---------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_memory_is_read_as_the_model_reads_it(kind: str, options: dict[str, object]) -> None:
    """The logits from memory and probe word are those of the sequence with that word behind it."""
    model, probe = build(kind, **options), 3
    batch = TASK.sample(5, seed=1)
    tokens = batch.tokens.clone()
    # Mamba's convolution sees nothing but probe words when its memory is read
    tokens[:, 3:] = probe
    tokens[0, 0] = probe
    batch = Batch(tokens, batch.lengths, batch.labels)
    sides = record(model, batch, TASK)
    read = reader(model, sides, probe)
    longer = torch.cat([tokens, torch.full((5, 1), probe)], dim=1)
    with torch.no_grad():
        expected = model(longer, batch.lengths + 1)
        found = read([side.memory.final.float() for side in sides])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "options"), KINDS[4:6])
def test_readouts_of_sum_and_mean_are_one_readout(kind: str, options: dict[str, object]) -> None:
    model = build(kind, **options)
    sides = record(model, TASK.sample(6, seed=0), TASK)
    states = [side.memory.final.float() for side in sides]
    read = reader(model, sides, 3)
    forms = [side.memory.form for side in sides]
    found = list(views(forms))
    assert [v.prefix for v in found][:2] == ["", "S/z: "]
    assert len(found) == 2 * len(sides)
    for view in found:
        torch.testing.assert_close(
            view.reading(read, states)(view.values(states[view.layer])), read(states)
        )
    form = forms[-1]
    assert form is not None
    # of one sequence: a step of the mean is z times smaller than one of the sum
    one = [s[:1] for s in states]
    of_sum, of_mean = (
        memory_readout(v.reading(read, one), v.values(one[v.layer]), margins=True).weight
        for v in found[:2]
    )
    z = form.matrix(one[-1])[..., -1:].double()
    shape = (form.heads, form.key, form.value)
    torch.testing.assert_close(
        form.matrix(of_sum)[..., :-1] * z,
        of_mean.unflatten(1, shape),
        rtol=1e-3,
        atol=1e-5,
    )


def test_a_normalised_sum_forgets_in_about_as_many_words_as_there_were() -> None:
    task = categorical(3, length=60)
    model = build_model("linear_transformer", 4, 3, hidden_size=16, layers=1).eval()
    (side,) = record(model, task.sample(8, seed=0), task)
    memory = side.memory
    assert memory.form is not None
    assert memory.inputs is not None
    taus = [forgetting(memory.form, memory.inputs[:, t], memory.states[:, t]) for t in (19, 59)]
    assert taus[0] == pytest.approx(19.5, rel=0.1)
    assert taus[1] == pytest.approx(59.5, rel=0.1)


def test_a_word_that_was_never_recorded_and_a_deep_mamba_are_refused() -> None:
    model = build("gru")
    batch = Batch(torch.zeros(2, 5, dtype=torch.int64), torch.tensor([5, 5]), torch.tensor([0, 0]))
    with pytest.raises(ReadoutError, match="Word 3 is in no recorded sequence"):
        reader(model, record(model, batch, TASK), 3)
    with pytest.raises(ReadoutError, match="MambaClassifier"):
        reader(MambaClassifier(4, 3, hidden_size=16, layers=2), [], 3)


def test_two_layers_are_measured_one_by_one_and_together() -> None:
    model, given = build("linear_transformer", layers=2), material(TASK, sequences=20)
    watched = watch(model, given)
    found = {name: value for _, name, value in memory_measures(watched, seed=0)}
    for prefix in ("", "S/z: ", "layer 1: ", "layer 1: S/z: "):
        assert f"{prefix}share of the logits its linear readout explains" in found
        # the word itself says little about a sum, and its mean about how long it is
        assert found[f"{prefix}share explained by the word"] < 0.6
    assert found["share explained by the position"] > 0.8
    assert abs(found["S/z: share explained by the position"]) < 0.1
    # untrained and nearly linear: all of it is foreseen by both layers together
    together = found["all layers: share of the logits their linear readouts explain"]
    assert together > found["layer 1: share of the logits its linear readout explains"]
