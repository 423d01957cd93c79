"""What a probe writes to a folder is what it would have kept in memory, whatever happens."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from classifiers import Classifier, batches
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import dynprobe
from dynprobe.errors import (
    AmbiguousNameError,
    BudgetError,
    FileFormatError,
    NonFiniteStatesError,
    ParameterError,
    RecordingWarning,
    UnknownNameError,
)
from dynprobe.shards.writer import ShardWriter
from dynprobe.testing.leaves import difference

WORDS = tuple("abcdefghijü")


def attach(model, **options):
    return dynprobe.attach(model, vocabulary=WORDS, classes=("x", "y", "z"), **options)


def in_memory(model, given, **options):
    with attach(model, **options) as probe:
        for batch in given:
            model(**batch)
    return probe


def written(model, folder, given, every=1, resume=False, **options):
    with attach(model, **options) as probe, probe.record_to(folder, every=every, resume=resume):
        for batch in given:
            model(**batch)


def equal(a, b):
    assert a.lengths.tolist() == b.lengths.tolist()
    assert a.layout == b.layout
    assert a.form == b.form
    for name in ("kept", "inputs", "initial", "tokens", "labels", "logits", "steps", "scale"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        assert x is None or (torch.equal(x, y) and x.dtype == y.dtype), name


def same(a, b):
    found = difference(a, b, tolerance=1e-9)
    assert not found, found


@pytest.mark.parametrize("every", [1, 2, 5, 9])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_what_is_written_is_what_would_have_been_kept(tmp_path, kind, every):
    model = Classifier(kind, num_layers=2).eval()
    probe = in_memory(model, batches())
    written(model, tmp_path / "run", batches(), every)
    for key in ("rnn.l0", "rnn.l1"):
        rec, expected = dynprobe.load(tmp_path / "run", key), probe.recording(key)
        assert rec.damaged == ()
        equal(rec, expected)
        assert rec.meta == expected.meta
        assert repr(rec) == repr(expected)
    assert torch.equal(rec.readout.weight, probe.readout("rnn.l1").weight)
    assert len(list((tmp_path / "run" / "rnn.l1").glob("shard-*"))) == -(-5 // every)
    manifest = json.loads((tmp_path / "run" / "rnn.l1" / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["recording"]["vocabulary"] == list(WORDS)
    assert sum(entry["sequences"] for entry in manifest["shards"]) == len(rec)


def test_a_shard_is_a_safetensors_file(tmp_path):
    model = Classifier().eval()
    written(model, tmp_path / "run", batches(1))
    tensors = load_file(tmp_path / "run" / "rnn" / "shard-000000.safetensors")
    assert torch.equal(tensors["0.states"], in_memory(model, batches(1)).recording().states)


@pytest.mark.parametrize(
    "store",
    [
        "final",
        dynprobe.Store(every=2),
        dynprobe.Store(project=4),
        dynprobe.Store(dtype=torch.float16),
    ],
)
def test_stores_that_keep_less(tmp_path, store):
    model = Classifier().eval()
    written(model, tmp_path / "run", batches(), store=store)
    equal(dynprobe.load(tmp_path / "run"), in_memory(model, batches(), store=store).recording())


def stored(recording, folder):
    writer = ShardWriter(folder, every=2, resume=False)
    for batch in recording.batches(5):
        writer.put(batch, ended=True)
    writer.close()
    return dynprobe.load(folder)


def test_factors(tmp_path):
    sample = dynprobe.testing.samples.linear_attention().recording
    rec = stored(sample, tmp_path / "run")
    equal(rec, sample)
    assert torch.allclose(rec.pca(2).variance, sample.pca(2).variance)
    assert torch.equal(rec.final, sample.final)
    equal(rec[3:8], sample[3:8])
    assert torch.allclose(rec.form_states().states, sample.form_states().states)


def test_states_formed_of_stored_factors_stay(tmp_path):
    sample = dynprobe.testing.samples.linear_attention().recording
    rec = stored(sample, tmp_path / "run").form_states()
    for r in (rec, sample.form_states()):
        assert torch.allclose(r.flat(), sample.flat())
        assert torch.allclose(r.final, sample.final)
        assert torch.allclose(r[3:8].states, sample[3:8].states)
        assert torch.allclose(torch.cat([b.flat() for b in r.batches(2)]), sample.flat())
        assert torch.allclose(r.sample(7, seed=1), sample.sample(7, seed=1))
        r.annotate(lengths=(r.lengths - 1).clamp(min=1))
    assert torch.allclose(rec.states, sample.states)
    assert torch.allclose(rec.flat(), sample.flat())
    report = dynprobe.analyze(rec, "manifold_dimension")
    assert report.failures == {}


def test_sequences_continued_over_calls_and_weights_that_change(tmp_path):
    model = Classifier(nn.LSTM, num_layers=2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    ids = torch.randint(0, 11, (4, 6))
    parts: list[dict] = []
    with attach(model) as probe, probe.record_to(tmp_path / "run", every=2) as recorder:
        for _ in range(3):
            state = None
            expected = []
            for part in ids.split(2, dim=1):
                logits, (h, c) = model(part, state=state)
                state = (h.detach(), c.detach())
                expected.append(h[0].detach())
                logits.sum().backward()
                optimizer.step()
            parts.append(torch.stack(expected, 1))
        assert recorder.sequences["rnn.l0"] in (8, 12)
    rec = dynprobe.load(tmp_path / "run", "rnn.l0")
    assert rec.lengths.tolist() == [6] * 12
    assert torch.equal(rec.tokens, ids.repeat(3, 1))
    assert torch.allclose(rec.part("h")[:, 1::2], torch.cat(parts), atol=1e-6)


def test_writing_and_accumulating_at_once(tmp_path):
    model = Classifier().eval()
    with attach(model) as probe:
        with probe.record_to(tmp_path / "run"), probe.accumulate() as running:
            for batch in batches():
                model(**batch)
    report = running.report()
    again = dynprobe.analyze(
        dynprobe.load(tmp_path / "run"), ["manifold_dimension", "final_states"]
    )
    same(report["manifold_dimension"].visited.mean, again["manifold_dimension"].visited.mean)
    same(report["final_states"], again["final_states"])


class TestLazily:
    @pytest.fixture
    def both(self, tmp_path):
        model = Classifier().eval()
        written(model, tmp_path / "run", batches())
        return dynprobe.load(tmp_path / "run"), in_memory(model, batches()).recording()

    def test_what_needs_no_whole_reads_none(self, both):
        rec, expected = both
        rec.budget.limit = 0
        assert torch.equal(rec.final, expected.final)
        assert torch.equal(rec.final_logits, expected.final_logits)
        assert torch.equal(rec.sample(9, noise=0.1, seed=3), expected.sample(9, noise=0.1, seed=3))
        assert torch.equal(rec.sample(900), expected.sample(900))
        assert torch.equal(rec.mask, expected.mask)
        assert rec.shape == expected.shape
        assert sum(len(b) for b in rec.batches(2)) == len(expected)
        assert max(len(b) for b in rec.batches(2)) == 2
        for name in ("states", "inputs"):
            with pytest.raises(BudgetError, match="rec.batches"):
                getattr(rec, name)
        with pytest.raises(BudgetError, match="rec.batches"):
            rec.flat()
        assert torch.equal(rec.form_states("1 MB").states, expected.states)
        assert "_kept" in rec.__dict__

    def test_a_report_of_a_folder_is_that_of_the_recording(self, both):
        rec, expected = both
        rec.budget.limit = 4 * len(rec) * 6  # no more than the final states
        names = ["manifold_dimension", "final_states", "token_pushes"]
        a, b = (dynprobe.analyze(r, names) for r in both)
        assert a.failures == {}
        same(a.results, b.results)
        same(a.views["rnn"].points, b.views["rnn"].points)
        same(a.views["rnn"].trajectories, b.views["rnn"].trajectories)
        assert a.views["rnn"].accuracy == b.views["rnn"].accuracy

    @given(data=st.data())
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_some_of_the_sequences(self, both, data):
        rec, expected = both
        n = len(rec)
        index = data.draw(
            st.one_of(
                st.slices(n).filter(lambda s: s.step is None or s.step > 0),
                st.lists(st.integers(0, n - 1), min_size=1).map(torch.tensor),
                st.lists(st.booleans(), min_size=n, max_size=n).map(torch.tensor),
            )
        )
        a, b = rec[index], expected[index]
        assert a.lengths.tolist() == b.lengths.tolist()
        assert torch.equal(a.flat(), b.flat())
        assert torch.equal(a.labels, b.labels)

    def test_annotations_go_with_the_batches(self, both):
        rec, expected = both
        for r in both:
            r.annotate(labels=torch.arange(len(r)), lengths=(r.lengths - 1).clamp(min=1))
            r.annotate(tokens=torch.arange(len(r) * 8).reshape(len(r), 8))
        assert torch.equal(torch.cat([b.labels for b in rec.batches()]), expected.labels)
        some, mask = rec[4:9], rec[4:9].mask
        assert torch.equal(some.tokens[mask], expected[4:9].tokens[:, : some.shape[1]][mask])
        assert torch.equal(torch.cat([b.flat() for b in rec.batches()]), expected.flat())
        equal(rec, expected)

    def test_saved_as_one_file(self, both, tmp_path):
        rec, expected = both
        equal(dynprobe.load(rec.save(tmp_path / "one")), expected)

    def test_states_that_are_not_finite(self, tmp_path):
        gru = nn.GRU(2, 3, batch_first=True)
        with dynprobe.attach(gru) as probe, probe.record_to(tmp_path / "run"):
            gru(torch.randn(2, 3, 2))
            gru(torch.full((1, 3, 2), torch.nan))
        with pytest.raises(NonFiniteStatesError, match="Of sequences 2 to 2"):
            dynprobe.load(tmp_path / "run").check_finite()


class TestResuming:
    def test_goes_on_where_it_was(self, tmp_path):
        model = Classifier().eval()
        given = list(batches(6))
        written(model, tmp_path / "run", given[:2])
        (tmp_path / "run" / "rnn" / "shard-000002.safetensors.part").write_bytes(b"half")
        written(model, tmp_path / "run", given[2:], resume=True, every=2)
        equal(dynprobe.load(tmp_path / "run"), in_memory(model, given).recording())
        assert not list((tmp_path / "run" / "rnn").glob("*.part"))

    def test_a_folder_that_is_there_is_not_written_to_unasked(self, tmp_path):
        model = Classifier().eval()
        written(model, tmp_path / "run", batches(1))
        with attach(model) as probe, pytest.raises(FileFormatError, match="resume=True"):
            probe.record_to(tmp_path / "run")

    def test_a_folder_of_something_else(self, tmp_path):
        written(Classifier().eval(), tmp_path / "run", batches(1))
        other = Classifier(nn.LSTM).eval()
        with pytest.raises(FileFormatError, match="holds states with layout"):
            written(other, tmp_path / "run", batches(1), resume=True)
        assert len(dynprobe.load(tmp_path / "run")) == 3

    @pytest.mark.parametrize("name", ["vocabulary", "classes"])
    def test_ids_that_would_mean_something_else(self, tmp_path, name):
        model = Classifier().eval()
        written(model, tmp_path / "run", batches(1))
        options = {"vocabulary": WORDS, "classes": ("x", "y", "z")}
        options[name] = options[name][::-1]
        with dynprobe.attach(model, **options) as probe:
            recorder = probe.record_to(tmp_path / "run", resume=True)
            with pytest.raises(FileFormatError, match=f"with another {name}"):
                model(**next(iter(batches(1))))
            with pytest.raises(FileFormatError, match=f"with another {name}"):
                recorder.close()
        rec = dynprobe.load(tmp_path / "run")
        assert len(rec) == 3
        assert (rec.meta.vocabulary, rec.meta.classes) == (WORDS, ("x", "y", "z"))

    def test_projections_on_other_directions(self, tmp_path):
        model = Classifier().eval()
        a, b = (dynprobe.Store(project=torch.randn(2, 6)) for _ in range(2))
        written(model, tmp_path / "run", batches(1), store=a)
        with pytest.raises(FileFormatError, match="on other directions"):
            written(model, tmp_path / "run", batches(1), resume=True, store=b)
        rec = dynprobe.load(tmp_path / "run")
        assert len(rec) == 3
        assert torch.equal(rec.meta.store.project, a.project)
        written(model, tmp_path / "run", batches(1), resume=True, store=a)
        assert len(dynprobe.load(tmp_path / "run")) == 6

    def test_names_are_kept_where_a_later_run_has_none(self, tmp_path):
        model = Classifier().eval()
        written(model, tmp_path / "run", batches(1))
        with dynprobe.attach(model) as probe, probe.record_to(tmp_path / "run", resume=True):
            model(**next(iter(batches(1))))
        assert dynprobe.load(tmp_path / "run").meta.vocabulary == WORDS

    def test_a_folder_that_never_was_is_begun(self, tmp_path):
        written(Classifier().eval(), tmp_path / "deep" / "run", batches(1), resume=True)
        assert len(dynprobe.load(tmp_path / "deep" / "run")) == 3

    def test_a_damaged_shard_is_not_overwritten(self, tmp_path):
        model, given = Classifier().eval(), list(batches(3))
        written(model, tmp_path / "run", given[:2])
        shard = tmp_path / "run" / "rnn" / "shard-000001.safetensors"
        shard.write_bytes(shard.read_bytes()[:50])
        written(model, tmp_path / "run", given[2:], resume=True)
        assert shard.stat().st_size == 50
        with pytest.warns(RecordingWarning, match="shard-000001"):
            rec = dynprobe.load(tmp_path / "run")
        equal(rec, in_memory(model, [given[0], given[2]]).recording())


@pytest.fixture
def folder(tmp_path):
    written(Classifier().eval(), tmp_path / "run", batches(4))
    return tmp_path / "run" / "rnn"


def shard(folder, number):
    return folder / f"shard-{number:06d}.safetensors"


def damaged(folder, *expected, sequences):
    with pytest.warns(RecordingWarning, match="cannot be used"):
        rec = dynprobe.load(folder)
    assert len(rec.damaged) == len(expected), rec.damaged
    for text, found in zip(expected, rec.damaged, strict=True):
        assert text in found
    assert len(rec) == sequences
    assert torch.isfinite(rec.states).all()
    return rec


class TestDamage:
    """Four shards of 3, 4, 3 and 4 sequences."""

    @pytest.mark.parametrize("left", [0, 5, 40, 700, -1])
    def test_cut_short(self, folder, left):
        path = shard(folder, 1)
        path.write_bytes(path.read_bytes()[:left])
        damaged(folder, "shard-000001.safetensors", sequences=10)

    def test_appended_to(self, folder):
        with shard(folder, 1).open("ab") as file:
            file.write(b"x")
        damaged(folder, "appended to", sequences=10)

    def test_every_byte_that_flips_is_seen(self, folder):
        path = shard(folder, 2)
        good = path.read_bytes()
        generator = torch.Generator().manual_seed(0)
        places = torch.randint(len(good), (60,), generator=generator).tolist()
        for place in [0, 7, 8, 20, 30, len(good) - 1, *places]:
            bad = bytearray(good)
            bad[place] ^= 1 << (place % 8)
            path.write_bytes(bad)
            damaged(folder, "shard-000002", sequences=11)
        path.write_bytes(good)
        assert len(dynprobe.load(folder)) == 14

    def test_a_flipped_byte_goes_unseen_without_verifying(self, folder):
        path = shard(folder, 2)
        bad = bytearray(path.read_bytes())
        bad[-1] ^= 1
        path.write_bytes(bad)
        assert len(dynprobe.load(folder, verify=False)) == 14

    def test_swapped(self, folder):
        a, b = shard(folder, 1), shard(folder, 2)
        text = a.read_bytes()
        shutil.copy(b, a)
        b.write_bytes(text)
        damaged(folder, "is shard 2 under another", "is shard 1 under another", sequences=7)

    def test_of_another_recording(self, folder, tmp_path):
        written(Classifier().eval(), tmp_path / "other", batches(4))
        shutil.copy(shard(tmp_path / "other" / "rnn", 1), shard(folder, 1))
        damaged(folder, "is of another recording", sequences=10)

    def test_files_that_are_something_else(self, folder):
        save_file({"x": torch.zeros(3)}, folder / "weights.safetensors")
        (folder / "notes.safetensors").write_text("hello")
        (folder / "notes.txt").write_text("mine")
        damaged(folder, "notes.safetensors has no", "weights.safetensors is", sequences=14)

    def test_missing(self, folder):
        shard(folder, 3).unlink()
        damaged(folder, "shard-000003.safetensors is missing", sequences=10)

    def test_shards_that_the_manifest_lacks_are_found(self, folder):
        from dynprobe.shards.manifest import read_manifest, write_manifest

        manifest = read_manifest(folder)
        write_manifest(folder, manifest.listing(manifest.shards[:1]))
        rec = dynprobe.load(folder)  # no warning: nothing is lost
        assert len(rec) == 14

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": 1}'])
    def test_without_a_manifest_the_other_files_speak(self, folder, text):
        whole = dynprobe.load(folder)
        (folder / "manifest.json").write_text(text)
        rec = damaged(folder, "manifest.json", sequences=14)
        assert rec.meta == whole.meta
        assert torch.equal(rec.readout.weight, whole.readout.weight)
        written(Classifier().eval(), folder.parent, batches(2), resume=True)  # and goes on
        again = dynprobe.load(folder)
        assert len(again) == 21
        assert again.meta.vocabulary == WORDS

    def test_without_anything_but_shards(self, folder):
        (folder / "manifest.json").unlink()
        (folder / "constants.safetensors").unlink()
        rec = damaged(folder, "manifest.json", "names of tokens and classes", sequences=14)
        assert rec.meta.vocabulary is None
        assert rec.layer == "rnn"

    def test_a_manifest_that_was_changed(self, folder):
        path = folder / "manifest.json"
        path.write_text(path.read_text().replace('"x"', '"w"'))
        damaged(folder, "manifest.json does not hold what was written", sequences=14)

    def test_a_damaged_readout(self, folder):
        path = folder / "constants.safetensors"
        path.write_bytes(path.read_bytes()[:-4])
        rec = damaged(folder, "the readout is lost", sequences=14)
        assert rec.readout is None

    def test_a_later_format(self, folder):
        path = shard(folder, 0)
        assert b"format" in path.read_bytes()
        from dynprobe.atomic import durable_file
        from dynprobe.checked_file import write_checked

        about = json.dumps({"format": 2, "run": "a", "number": 0, "batches": []})
        with durable_file(path) as file:
            write_checked(file, {}, {"dynprobe-shard": about})
        damaged(folder, "has format 2, and this version reads format 1", sequences=11)

    def test_nothing_is_left(self, folder):
        for path in folder.glob("*.safetensors"):
            path.unlink()
        with pytest.warns(RecordingWarning), pytest.raises(FileFormatError, match="no sequence"):
            dynprobe.load(folder)
        (folder / "manifest.json").unlink()
        with pytest.raises(FileFormatError, match="There is no recording in"):
            dynprobe.load(folder)


class TestNames:
    def test_of_several_recurrences_one_is_named(self, tmp_path):
        model = nn.ModuleDict({"a": nn.GRU(3, 4), "b/c": nn.GRU(3, 4)})
        with dynprobe.attach(model) as probe, probe.record_to(tmp_path / "run"):
            for name in model:
                model[name](torch.randn(5, 2, 3))
        assert dynprobe.load(tmp_path / "run", "b/c").layer == "b/c"
        with pytest.raises(AmbiguousNameError, match="a, b/c"):
            dynprobe.load(tmp_path / "run")
        with pytest.raises(UnknownNameError, match="holds no 'd'"):
            dynprobe.load(tmp_path / "run", "d")
        leaf = (tmp_path / "run" / "a").rename(tmp_path / "renamed")
        assert dynprobe.load(leaf, "a").layer == "a"
        with pytest.raises(UnknownNameError, match="one recurrence, 'a', and not of 'd'"):
            dynprobe.load(leaf, "d")

    def test_a_file_has_no_layers(self, tmp_path):
        rec = dynprobe.Recording.from_arrays(torch.ones(1, 2, 3))
        with pytest.raises(FileFormatError, match="is no folder"):
            dynprobe.load(rec.save(tmp_path / "a"), "b")

    @pytest.mark.parametrize("every", [0, -1, 1.5])
    def test_shards_of_no_batches(self, tmp_path, every):
        with dynprobe.attach(nn.GRU(2, 3)) as probe, pytest.raises(ParameterError, match="every="):
            probe.record_to(tmp_path / "run", every=every)

    def test_a_call_that_cannot_be_read_is_told_at_the_end(self, tmp_path):
        gru = nn.GRU(2, 3, batch_first=True)
        with dynprobe.attach(gru) as probe:
            recorder = probe.record_to(tmp_path / "run")
            gru(torch.randn(2, 3, 2))
            recorder.fail("gru", ValueError("unreadable"), cut=False)
            gru(torch.randn(3, 3, 2))
            with pytest.raises(ValueError, match="unreadable"):
                recorder.close()
            recorder.close()
        assert len(dynprobe.load(tmp_path / "run")) == 5
