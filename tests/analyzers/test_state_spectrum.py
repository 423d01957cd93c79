"""Matrix states without forming them, against the formed ones, and beside their nulls."""

from __future__ import annotations

import math
import warnings

import hf_models
import pytest
import torch
from nn.linear_transformers import language_model
from torch import nn

import dynprobe
from dynprobe.analyzers.state_spectrum import StateSpectrum
from dynprobe.dimension import participation_ratio
from dynprobe.errors import (
    LargeStatesError,
    NonFiniteStatesError,
    ShapeError,
    UnknownNameError,
)
from dynprobe.recording import Recording, RecordingMeta
from dynprobe.recurrences import Layout
from dynprobe.recurrences.rank_one import DELTA, RankOne
from dynprobe.report.summary import summary
from dynprobe.store import Store

MODELS = ["linear attention", "mamba2", "qwen3_next", "minimax"]
MODELS += ["xlstm", "rwkv", "kimi_linear", "mamba"]


def recorded(name, **options):
    """A recording of the first recurrent layer, three texts of different lengths."""
    if name == "linear attention":
        model, lengths = language_model(torch.float32), [12, 20, 17]
    else:
        try:
            model, lengths = hf_models.BY_NAME[name].build(), [20, 20, 20]
        except ImportError:
            pytest.skip(f"{name}: not in this release of transformers")
    ids = torch.randint(3, 40, (3, 20))
    mask = torch.arange(20) < torch.tensor(lengths)[:, None]
    with warnings.catch_warnings(), torch.no_grad(), dynprobe.attach(model, **options) as probe:
        warnings.simplefilter("ignore")
        model(ids, **({} if min(lengths) == 20 else {"attention_mask": mask.long()}))
        rec = probe.recording(probe.layers[0].key)
    if min(lengths) == 20:
        rec.annotate(lengths=[20, 13, 17])
    return rec


def in_float64(rec):
    """The same inputs: what differs then is the way of computing and not the rounding."""
    return Recording(
        None,
        rec.meta,
        lengths=rec.lengths,
        inputs=rec.inputs.double(),
        initial=rec.initial.double(),
        form=rec.form,
        scale=rec.scale.double(),
    )


def formed(rec, of):
    """(sequences, time, width) states by their definition."""
    states = rec[:].form_states().states
    if of == "S/t":
        return states / torch.arange(1, states.shape[1] + 1)[:, None]
    if of == "S/z":
        matrix = rec.form.matrix(states)
        return (matrix[..., :-1] / matrix[..., -1:]).nan_to_num(0).flatten(2)
    return states


@pytest.mark.parametrize("of", ["S", "S/t", "S/z"])
@pytest.mark.parametrize("name", MODELS)
def test_recordings_of_models(name, of):
    rec = in_float64(recorded(name, store="factors"))
    assert rec.form.heads > 1
    if of == "S/z" and not rec.form.normaliser:
        with pytest.raises(UnknownNameError, match="no normaliser"):
            rec.pca(2, of=of)
        return
    states = formed(rec, of)
    flat = states[rec.mask]
    centred = flat - flat.mean(0)
    exact = torch.linalg.svdvals(centred) ** 2 / (len(flat) - 1)
    x = torch.randn(3, flat.shape[1], dtype=torch.float64)
    kept = rec[:].form_states()
    for way in (rec, kept):
        pca = way.pca(3, of=of)
        torch.testing.assert_close(pca.variance, exact[:3], rtol=1e-6, atol=0)
        assert pca.total_variance == pytest.approx(float(exact.sum()), rel=1e-9)
        torch.testing.assert_close(way.project(x, of=of)[rec.mask], flat @ x.T)
        assert not way.project(x, of=of)[~rec.mask].any()
        pr = participation_ratio(exact)
        assert way.participation_ratio(of) == pytest.approx(pr, rel=1e-9)
        assert way.participation_ratio(of, exact=False) == pytest.approx(pr, rel=0.02)
        torch.testing.assert_close(way.gram(of), flat @ flat.T)
    assert rec.kept is None  # nothing was formed
    with pytest.raises(ShapeError, match="width"):
        rec.project(x[:, 1:], of=of)


def test_tokens_are_counted_by_steps_where_some_were_kept():
    model = hf_models.BY_NAME["mamba"].build()
    ids = torch.randint(3, 40, (2, 20))
    with torch.no_grad(), dynprobe.attach(model, store=Store(every=4)) as probe:
        model(ids)
    some = probe.recording(probe.layers[0].key)
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(ids)
    whole = probe.recording(probe.layers[0].key)
    x = torch.randn(2, whole.layout.size)
    torch.testing.assert_close(some.project(x, of="S/t"), whole.project(x, of="S/t")[:, 3::4])
    with pytest.raises(LargeStatesError, match="no factors"):
        some.null("random")


def undecayed(time=3000, sequences=1, key=16, value=16, **form):
    """Linear attention without a decay; standard normal k and v."""
    layout = Layout.of(S=(1, key, value))
    made = RankOne(layout, 1, key, value, 1, 1, rates=0, **form)
    return Recording(
        None,
        RecordingMeta("layer", layout, store=Store("factors")),
        inputs=torch.randn(sequences, time, made.inputs.size),
        initial=torch.zeros(sequences, layout.size),
        form=made,
        scale=torch.zeros(1, 1, 1),
    )


def test_a_sum_of_noise_has_the_spectrum_of_a_random_walk():
    """The shares of its components are 6 / (pi i)^2 in many dimensions; sum of squares 2 / 5."""
    result = dynprobe.analyze(undecayed(), "state_spectrum")["state_spectrum"]
    expected = 6 / (torch.pi * torch.arange(1, 4, dtype=torch.float64)) ** 2
    for spectrum in result.spectra["S"].values():
        torch.testing.assert_close(spectrum.shares, expected, rtol=0.2, atol=0)
        assert spectrum.participation_ratio == pytest.approx(2.5, rel=0.15)
    assert set(result.spectra) == {"S", "S/t"}


def test_nulls_tell_order_from_noise():
    """Evidence that comes in an order: S moves along a line; of permuted inputs it does not."""
    rec = undecayed(time=2000)
    sign = torch.where(torch.arange(2000) % 400 < 200, 1.0, -1.0)
    rec.inputs[0] = rec.inputs[0, :1]
    rec.inputs[0, :, 16:] *= sign[:, None]
    rec.inputs += 0.3 * torch.randn_like(rec.inputs)
    spectra = dynprobe.analyze(rec, "state_spectrum")["state_spectrum"].spectra["S"]
    assert spectra["recorded"].shares[0] > 0.9
    # phases keep the slow rise and fall, order alone is what a permutation takes away
    assert rec.null("random").pca(1).total_variance < 0.1 * rec.pca(1).total_variance
    phase = rec.null("phase", seed=1)
    before, after = (torch.fft.rfft(r.inputs[0, :, 16:], dim=0).abs() for r in (rec, phase))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("how", ["random", "phase"])
@pytest.mark.parametrize("name", MODELS)
def test_nulls_keep_what_inputs_may_be(name, how):
    rec = recorded(name, store="factors")
    null = rec.null(how, seed=3)
    assert torch.equal(null.lengths, rec.lengths)
    assert torch.equal(null.initial, rec.initial)
    assert null.layout == rec.layout
    assert null.tokens is None
    assert torch.equal(null.inputs, rec.null(how, seed=3).inputs)
    assert not torch.equal(null.inputs, rec.null(how, seed=4).inputs)
    assert not null.inputs[~rec.mask].any()
    valid, was = null.inputs[rec.mask], rec.inputs[rec.mask]
    one_sign = (was >= 0).all(0) | (was <= 0).all(0)
    if how == "random":
        # the tokens are the same, in another order
        same = (valid.unsqueeze(1) == was).all(-1)
        assert same.any(0).all()
        assert same.any(1).all()
        assert not same.diagonal().all()
    else:
        for row, n in enumerate(rec.lengths.tolist()):
            a, b = (r.inputs[row, :n, one_sign].sort(dim=0).values for r in (null, rec))
            assert torch.equal(a, b)
    assert "rate" not in dict(rec.form.inputs.parts) or torch.equal(
        rec.form.inputs.split(valid)["rate"].sign().flatten().sort().values,
        rec.form.inputs.split(was)["rate"].sign().flatten().sort().values,
    )
    assert null.pca(2).total_variance > 0
    assert null.final.isfinite().all()
    if rec.form.kind == DELTA:
        lengths = [rec.form.inputs.split(r.inputs)["k"].norm(dim=-1) for r in (null, rec)]
        for i in range(3):
            a, b = (x[i, : rec.lengths[i]].flatten().sort().values for x in lengths)
            if how == "phase":
                torch.testing.assert_close(a, b)


def test_the_null_of_something_else():
    with pytest.raises(UnknownNameError, match="no null 'shuffled'"):
        undecayed().null("shuffled")
    with pytest.raises(LargeStatesError, match="not of rank one"):
        Recording.from_arrays(torch.randn(2, 5, 3)).null("random")


def test_the_analyzer_shows_nulls_beside_the_states_and_skips_other_recurrences():
    rec = recorded("linear attention", store="factors")
    report = dynprobe.analyze(rec)
    assert [name for name, _ in report.results] == ["state_spectrum"]
    spectra = report["state_spectrum"].spectra
    assert list(spectra) == ["S", "S/t", "S/z"]
    for of, by_inputs in spectra.items():
        assert list(by_inputs) == ["recorded", "random", "phase"]
        pca = rec.pca(3, of=of)
        shares = pca.variance.double() / pca.total_variance
        torch.testing.assert_close(by_inputs["recorded"].shares, shares, rtol=1e-4, atol=0)
        pr = rec.participation_ratio(of)
        assert by_inputs["recorded"].participation_ratio == pytest.approx(pr, rel=0.01)
        null = rec.null("phase", seed=0).pca(3, of=of)
        shares = null.variance.double() / null.total_variance
        torch.testing.assert_close(by_inputs["phase"].shares, shares, rtol=1e-4, atol=0)
    rows = summary(report, rec.layer)["state_spectrum"]
    text = "\n".join(f"{row.measure} {row.value} {row.meaning}" for row in rows)
    assert "participation ratio of S/z" in text
    assert "random inputs" in text
    assert set(text.split()) <= set(str(report).split())
    gru = nn.GRU(3, 4, batch_first=True)
    with torch.no_grad(), dynprobe.attach(gru) as probe:
        gru(torch.randn(2, 9, 3))
    skipped = probe.analyze("state_spectrum").skipped
    assert skipped["state_spectrum", "gru"] == "needs the factors of a rank-one recurrence"
    with pytest.raises(ValueError, match="from 1 to 16"):
        StateSpectrum(k=17)


def of_one_token(tokens, dtype):
    """Linear attention without a decay that saw one token again and again: S/t, S/z constant."""
    layout = Layout.of(S=(2, 8, 8), z=(2, 8))
    form = RankOne(layout, 2, 8, 8, 2, 2, rates=0, normaliser=True)
    token = torch.randn(1, 1, form.inputs.size, dtype=dtype)
    token[..., :16].abs_()
    return Recording(
        None,
        RecordingMeta("layer", layout, store=Store("factors")),
        inputs=token.repeat(2, tokens, 1),
        initial=torch.zeros(2, layout.size, dtype=dtype),
        form=form,
        scale=torch.zeros(1, 1, 1, dtype=dtype),
    )


@pytest.mark.parametrize("formed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tokens", [1, 20, 1000])
def test_rounding_is_no_variance(tokens, dtype, formed):
    rec = of_one_token(tokens, dtype)
    if formed:
        rec.form_states()
    for of in ("S/t", "S/z"):
        for exact in (True, False, None):
            assert math.isnan(rec.participation_ratio(of, exact=exact))
        pca = rec.pca(2, of=of)
        assert pca.total_variance == 0
        assert not pca.variance.any()
        assert not pca.scores.any()
    # what is little, but there, is found: a token that differs by one part in 10,000
    if tokens > 1:
        rec = of_one_token(tokens, dtype)
        rec.inputs[:, tokens // 2 :, 16:] *= 1 + 1e-4
        if formed:
            rec.form_states()
        for exact in (True, False):
            assert 1 <= rec.participation_ratio("S/z", exact=exact) < 1.01


@pytest.mark.parametrize("tokens", [1, 20])
def test_a_report_on_states_that_do_not_vary(tokens, tmp_path):
    rec = of_one_token(tokens, torch.float32)[:1]
    report = dynprobe.analyze(rec, "state_spectrum")
    spectrum = report["state_spectrum"].spectra["S/t"]["recorded"]
    assert spectrum.shares.isnan().all()
    assert math.isnan(spectrum.participation_ratio)
    assert "no variance" in str(report)
    report.save(tmp_path / "report.html")
    report.save(tmp_path / "report.json")


@pytest.mark.parametrize("store", ["final", Store(every=4)], ids=str)
def test_states_kept_in_part_do_not_say_that_they_have_no_normaliser(store):
    rec = recorded("linear attention", store=store)
    assert rec.layout.names == ("S", "Z")
    with pytest.raises(UnknownNameError, match=r"is not known.*Record with store='factors'"):
        rec.pca(2, of="S/z")
    assert rec.pca(2, of="S/t").total_variance > 0


def test_sequences_that_are_too_short_for_a_null():
    rec = undecayed(time=2, sequences=3)
    with pytest.raises(ShapeError, match=r"no phase inputs .* at least 3 tokens, .* has 2"):
        rec.null("phase")
    result = dynprobe.analyze(rec, "state_spectrum")
    spectra = result["state_spectrum"].spectra
    assert list(spectra["S"]) == ["recorded", "random"]
    assert "at least 3 tokens" in result["state_spectrum"].notes["phase"]
    assert "phase inputs" in str(result)
    with pytest.raises(ShapeError, match="no random inputs"):
        undecayed(time=1).null("random")
    some = undecayed(time=9, sequences=3).annotate(lengths=[9, 2, 1])
    null = some.null("phase")
    assert null.meta.notes[1] == "2 of 3 sequences are too short for it, and as recorded"
    assert torch.equal(null.inputs[1:], some.inputs[1:])
    assert not torch.equal(null.inputs[0], some.inputs[0])
    found = dynprobe.analyze(some, "state_spectrum")["state_spectrum"]
    assert list(found.spectra["S"]) == ["recorded", "random", "phase"]
    assert found.notes == {"phase": null.meta.notes[1]}


def of_words(words):
    """A language model without positions: in its first layer a token's k and v are its word's."""
    model = language_model(torch.float32, vocab_size=words, position_embedding="none")
    ids = torch.randint(words, (1, 1000))
    with torch.no_grad(), dynprobe.attach(model, store="factors", layers="*0*") as probe:
        model(ids, attention_mask=torch.ones_like(ids))
    return probe.recording(probe.layers[0].key)


def test_the_phase_null_of_few_words_is_white():
    rec = of_words(3)
    for seed in range(3):
        null = rec.null("phase", seed=seed)
        for r in (rec, null):
            k = rec.form.inputs.split(r.inputs)["k"][0].flatten(1).double()
            power = torch.fft.rfft(k - k.mean(0), dim=0).abs().square()
            assert (power[1:8].sum() / power.sum()) < 0.04  # 1.4 % of the frequencies


def test_components_that_cannot_be():
    rec = undecayed(time=6)
    for k in (0, -1):
        with pytest.raises(ShapeError, match=f"k={k}: give a number of components from 1"):
            rec.pca(k)
    assert rec.pca(100).variance.shape == (6,)
    formed = Recording.from_arrays(rec[:].form_states().states)
    formed.states[0, 4, 3] = torch.nan
    rec.inputs[0, 4, 3] = torch.nan
    for bad in (formed, rec):
        with pytest.raises(NonFiniteStatesError, match="sequence 0, step 4"):
            bad.pca(2)
        with pytest.raises(NonFiniteStatesError, match="sequence 0, step 4"):
            bad.participation_ratio()
    grown = undecayed(time=6)
    grown.inputs *= 1e30  # themselves finite
    with pytest.raises(NonFiniteStatesError, match="diverged"):
        grown.pca(2)
