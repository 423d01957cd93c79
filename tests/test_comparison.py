"""Models side by side: what must come out alike, what must not, what cannot be told."""

from __future__ import annotations

import json
import math

import pytest
import torch
from comparison_samples import BATCH, CLASSES, classifier, probed, transformer
from torch import nn

import dynprobe
from dynprobe.comparison.table import median_left
from dynprobe.errors import NothingRecordedError, ReadoutError, ShapeError
from dynprobe.geometry.rotation import turned_onto
from dynprobe.report.comparison import MEMORY, STREAM


@pytest.fixture(scope="module")
def three():
    """A GRU, an LSTM of another size, and a linear transformer, untrained."""
    models = {
        "gru": probed(classifier("gru", 10), stream=False),
        "lstm": probed(classifier("lstm", 7), stream=False),
        "transformer": probed(transformer()),
    }
    return dynprobe.compare(models, details={"gru": {"training": "none"}}, seed=3)


def test_a_model_is_the_same_as_itself():
    probe = probed(classifier("gru", 8), stream=False)
    same = dynprobe.compare({"a": probe, "b": probe})
    assert same.row("same answer").cells["b"].value == 1
    for notion in (STREAM, MEMORY):
        assert same.similarity[notion].cka == pytest.approx(torch.ones(2, 2), abs=1e-9)
        assert same.similarity[notion].angle.abs().max() < 1e-6
        a, b = same.planes[notion, "a"], same.planes[notion, "b"]
        torch.testing.assert_close(a.ends, b.ends)
    stream, memory = same.findings[1:]
    assert (stream.answer, memory.answer) == ("yes", "yes")


def test_a_turned_state_is_the_same_geometry_with_the_same_answers():
    """Units of a network permuted: another state at every place, the same geometry."""
    model = classifier("gru", 8)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    rows = torch.cat([order, order + 8, order + 16])
    turned = classifier("gru", 8)
    with torch.no_grad():
        turned.h0.copy_(model.h0[..., order])
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            value = getattr(model.rnn, name)[rows]
            getattr(turned.rnn, name).copy_(value[:, order] if name == "weight_hh_l0" else value)
        turned.readout.weight.copy_(model.readout.weight[:, order])
    probes = {"a": probed(model, stream=False), "b": probed(turned, stream=False)}
    states = [probe.recording().states for probe in probes.values()]
    assert not torch.allclose(*states)
    found = dynprobe.compare(probes)
    assert found.row("same answer").cells["b"].value == 1
    assert float(found.similarity[MEMORY].cka[0, 1]) == pytest.approx(1, abs=1e-6)
    assert float(found.similarity[MEMORY].angle[0, 1]) < 1e-3
    a, b = found.planes[MEMORY, "a"], found.planes[MEMORY, "b"]
    torch.testing.assert_close(a.ends, b.ends, rtol=0, atol=1e-4)


def test_sizes_and_kinds_stand_side_by_side(three):
    state = three.row("state", MEMORY).cells
    assert [state[n].value for n in three.names] == [10, 14, 2 * (8 * 8 + 8)]
    width = three.row("width", STREAM).cells
    # an LSTM's classifier reads h, its memory is h and c
    assert [width[n].value for n in three.names] == [10, 7, 16]
    for notion in (STREAM, MEMORY):
        cka = three.similarity[notion].cka
        assert three.similarity[notion].names == three.names
        torch.testing.assert_close(cka, cka.T)
        assert cka.diagonal() == pytest.approx(torch.ones(3), abs=1e-9)
        off = cka[~torch.eye(3, dtype=torch.bool)]
        assert bool((off < 0.999).all())
        assert {(notion, n) for n in three.names} <= set(three.planes)


def test_accuracy_and_agreement_are_those_of_the_logits(three):
    probes = {n: classifier(n, w) for n, w in (("gru", 10), ("lstm", 7))}
    with torch.no_grad():
        said = {n: m(BATCH.tokens, BATCH.lengths).argmax(1) for n, m in probes.items()}
    for name, answers in said.items():
        right = float((answers == BATCH.labels).double().mean())
        assert three.row("accuracy").cells[name].value == right
    agree = float((said["gru"] == said["lstm"]).double().mean())
    assert three.row("same answer").cells["lstm"].value == agree


def labelled(labels):
    """Two GRUs that saw the batch with other labels."""
    probes = {n: probed(classifier("gru", w), stream=False) for n, w in (("a", 5), ("b", 6))}
    for probe in probes.values():
        probe.recording().annotate(labels=labels)
    return probes


def test_several_labels_are_as_many_questions():
    labels = torch.randint(0, 2, (20, CLASSES), generator=torch.Generator().manual_seed(0))
    labels[0] = -100
    probes = labelled(labels)
    found = dynprobe.compare(probes)
    said = {n: (p.recording().final_logits > 0).long() for n, p in probes.items()}
    for name, answers in said.items():
        right = float((answers[1:] == labels[1:]).double().mean())
        assert found.row("accuracy").cells[name].value == pytest.approx(right)
    agree = float((said["a"] == said["b"]).double().mean())
    assert found.row("same answer").cells["b"].value == pytest.approx(agree)
    assert "the labels of 20 sequences" in found.findings[0].sentence


def test_labels_that_stand_for_none_are_left_out():
    labels = BATCH.labels.clone()
    labels[::2] = -100
    probes = labelled(labels)
    found = dynprobe.compare(probes)
    for name, probe in probes.items():
        said = probe.recording().final_logits.argmax(1)
        right = float((said == labels)[1::2].double().mean())
        assert found.row("accuracy").cells[name].value == pytest.approx(right)
    assert min(found.end_classes) >= 0


def test_labels_of_another_shape_are_no_crash():
    probes = labelled(BATCH.labels)
    probes["b"].recording().annotate(labels=BATCH.labels[:, None])
    found = dynprobe.compare(probes)
    assert found.row("accuracy").cells["b"].value is not None
    probes["b"].recording().annotate(labels=torch.zeros(20, 3, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"labels of shapes \(20,\) and \(20, 3\)"):
        dynprobe.compare(probes)


def test_labels_that_do_not_fit_say_so():
    found = dynprobe.compare(labelled(torch.full((20,), 7)))
    assert "a label is 7" in found.row("accuracy").cells["a"].text
    assert found.row("same answer").cells["b"].value is not None


def test_a_sum_keeps_a_push_whole_and_has_no_fixed_point(three):
    push = three.row("push off the manifold", MEMORY).cells
    assert push["transformer"].value == pytest.approx(1, abs=1e-6)
    assert push["gru"].value < 0.5
    points = three.row("fixed points", MEMORY).cells
    assert points["transformer"].missing
    assert "marginal" in points["transformer"].text
    assert points["gru"].value >= 1
    times = three.row("slowest time constants", MEMORY).cells
    assert math.isinf(times["transformer"].value)
    assert times["gru"].value < 50
    assert three.findings[2].answer == "no"


def test_matrix_memories_stand_beside_random_inputs(three):
    found = three.dimensions[MEMORY, "transformer"]
    assert found.of == "S/z"
    assert found.null is not None
    assert three.dimensions[MEMORY, "gru"].null is None
    assert "random inputs" in three.row("participation ratio", MEMORY).cells["transformer"].text


def test_a_memory_kept_as_factors_is_compared_all_the_same():
    gru = probed(classifier("gru", 10), stream=False)
    kept = {how: probed(transformer(), store=how) for how in ("states", "factors")}
    formed, factors = (
        dynprobe.compare({"gru": gru, "t": given}, seed=1) for given in kept.values()
    )
    assert kept["factors"][0].recording("transformer.model.layers.1.attention").kept is None
    for row in formed.rows:
        other = factors.row(row.measure, row.notion).cells["t"]
        assert not other.missing or row.cells["t"].missing, other
        if row.cells["t"].value is not None:
            assert other.value == pytest.approx(row.cells["t"].value, rel=1e-3)
    torch.testing.assert_close(
        formed.similarity[MEMORY].cka, factors.similarity[MEMORY].cka, rtol=0, atol=1e-4
    )


def test_untrained_models_get_no_verdict(three):
    assert three.verdict.startswith("Cannot be told")
    assert "not learned" in three.verdict


def test_a_stream_that_was_not_recorded_is_a_cell_that_says_so():
    models = {
        "gru": probed(classifier("gru", 6), stream=False),
        "bare": probed(transformer(), stream=False),
    }
    found = dynprobe.compare(models)
    cell = found.row("participation ratio", STREAM).cells["bare"]
    assert cell.missing
    assert "dynprobe.Stream" in cell.text
    assert STREAM not in found.similarity
    assert MEMORY in found.similarity
    assert found.findings[1].answer == "cannot be told"


def test_an_analysis_that_fails_is_a_cell_and_costs_nothing_else(monkeypatch):
    from dynprobe.comparison import mechanism

    def broken(*args, **kwargs):
        raise RuntimeError("no pushes today")

    monkeypatch.setattr(mechanism, "attraction", broken)
    probe = probed(classifier("gru", 6), stream=False)
    found = dynprobe.compare({"a": probe, "b": probe})
    cell = found.row("push off the manifold", MEMORY).cells["a"]
    assert cell.missing
    assert "no pushes today" in cell.text
    assert not found.row("fixed points", MEMORY).cells["a"].missing
    assert found.findings[2].answer == "cannot be told"


def test_states_that_never_change_leave_a_reason():
    class Still(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(1, 4, batch_first=True)
            self.readout = nn.Linear(4, CLASSES)
            for p in self.rnn.parameters():
                nn.init.zeros_(p)

        def forward(self, input_ids, lengths=None):
            return self.readout(self.rnn(input_ids[..., None].float())[0][:, -1])

    models = {
        n: probed(m, stream=False) for n, m in (("gru", classifier("gru", 5)), ("still", Still()))
    }
    found = dynprobe.compare(models)
    assert not found.row("participation ratio", MEMORY).cells["gru"].missing
    assert MEMORY not in found.similarity
    assert "still" in str(found)


def test_models_must_have_seen_the_same_sequences():
    one = probed(classifier("gru", 5), stream=False)
    with pytest.raises(ShapeError, match="20 and 19"):
        dynprobe.compare(
            {"a": one, "b": probed(classifier("gru", 5), rows=slice(0, 19), stream=False)}
        )
    with pytest.raises(ShapeError, match="the tokens of sequence 0"):
        dynprobe.compare({"a": one, "b": probed(classifier("gru", 5), shift=1, stream=False)})
    short = probed(classifier("gru", 5), shorter=1, stream=False)
    with pytest.raises(ShapeError, match=r"sequence \d+ has \d+ steps"):
        dynprobe.compare({"a": one, "b": short})
    with pytest.raises(ShapeError, match="at least two"):
        dynprobe.compare({"a": one})
    with pytest.raises(ShapeError, match="no model given"):
        dynprobe.compare({"a": one, "b": one}, layers={"c": "rnn"})
    with pytest.raises(TypeError, match="'b' is a int"):
        dynprobe.compare({"a": one, "b": 3})


def test_another_layer_can_be_the_memory():
    given = probed(transformer())
    lower = "transformer.model.layers.0.attention"
    found = dynprobe.compare({"a": given, "b": given}, layers={"b": lower})
    cells = found.row("layer", MEMORY).cells
    assert cells["a"].text != cells["b"].text == lower
    assert float(found.similarity[STREAM].cka[0, 1]) == pytest.approx(1)
    assert float(found.similarity[MEMORY].cka[0, 1]) < 0.999


def test_the_same_seed_gives_the_same_comparison():
    probes = {n: probed(classifier(n, 6), stream=False) for n in ("gru", "lstm")}
    before = torch.random.get_rng_state()
    first, again = (dynprobe.compare(probes, seed=5).to_dict() for _ in range(2))
    assert first == again
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_is_saved_in_every_form(three, tmp_path):
    page = three.save(tmp_path / "c.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "Do gru, lstm and transformer compute it the same way?" in page
    assert page.index("Cannot be told") < page.index("<img")
    assert page.count("data:image") == 4
    assert "could not be drawn" not in page
    numbers = json.loads(three.save(tmp_path / "c.json").read_text())
    assert numbers["models"] == ["gru", "lstm", "transformer"]
    assert numbers["dimensions"][MEMORY]["transformer"]["of"] == "S/z"
    folder = three.save(tmp_path / "pictures")
    names = {"stream_planes", "memory_planes", "spectra", "similarity"}
    assert {p.stem for p in folder.glob("*.png")} == names
    with pytest.raises(ValueError, match=r"suffix '\.pdf'"):
        three.save(tmp_path / "c.pdf")


def test_names_and_reasons_are_escaped():
    probe = probed(classifier("gru", 5), stream=False)
    found = dynprobe.compare({"<b>": probe, "[red]": probe})
    from dynprobe.report.comparison_page import render_comparison

    page = render_comparison(found)
    assert "<b></" not in page
    assert "&lt;b&gt;" in page
    assert "[red]" in str(found)


def test_points_turned_are_turned_back():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    torch.testing.assert_close(turned_onto(x, x @ q), q.T)
    with pytest.raises(ShapeError, match="two of the same shape"):
        turned_onto(x, x[:, :2])


def test_median_left_is_of_the_last_step():
    def half(state, x):
        return state / 2

    system = dynprobe.as_recurrence(half, state_dim=4, input_dim=1)
    push = dynprobe.attraction(system, torch.randn(5, 4), steps=3)
    assert median_left(push.off) == pytest.approx(1 / 8)
    assert isinstance(push, dynprobe.Attraction)


class TestStream:
    def test_it_is_what_the_classifier_reads(self):
        model = transformer()
        with torch.no_grad():
            plain = model(BATCH.tokens, BATCH.lengths)
            with dynprobe.attach(model) as probe, dynprobe.Stream(model) as stream:
                watched = model(BATCH.tokens, BATCH.lengths)
            hidden = model.transformer.model(BATCH.tokens).last_hidden_state
        assert torch.equal(plain, watched)
        memory = probe.recording("transformer.model.layers.1.attention")
        rec = stream.recording(memory)
        # causal: padding at the end changes nothing before it
        torch.testing.assert_close(rec.flat(), hidden[memory.mask])
        torch.testing.assert_close(rec.readout(rec.final), plain)
        with pytest.raises(ReadoutError, match=r"recording\(like\)"):
            stream.recording()
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert rec.readout.name == "transformer.score"

    def test_a_pooled_classifier_has_none(self):
        class Pooled(nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = nn.GRU(2, 4, batch_first=True)
                self.out = nn.Linear(4, 3)

            def forward(self, x):
                return self.out(self.rnn(x)[0].mean(1))

        model = Pooled()
        with dynprobe.Stream(model) as stream, torch.no_grad():
            model(torch.randn(5, 6, 2))
        with pytest.raises(ReadoutError, match="does not read the last vector"):
            stream.recording()

    def test_nothing_to_read(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
        stream = dynprobe.Stream(model)
        with pytest.raises(NothingRecordedError, match="no nn.Linear was called"):
            stream.recording()
        model(torch.randn(4, 2, 3))
        with pytest.raises(NothingRecordedError, match="before 1"):
            stream.recording()
        stream.detach()

    def test_calls_of_other_lengths_are_put_together(self):
        model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
        with dynprobe.Stream(model) as stream:
            model(torch.randn(3, 5, 2))
            model(torch.randn(2, 7, 2))
        rec = stream.recording()
        assert rec.shape == (5, 7, 4)
        like = dynprobe.Recording.from_arrays(torch.randn(4, 7, 2))
        with pytest.raises(ShapeError, match="the same calls"):
            stream.recording(like)
