"""What is kept of states that may be too large to keep them all."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import MambaConfig, MambaModel

import dynprobe
from dynprobe.errors import BudgetError, DynprobeError, LargeStatesError, ShapeError
from dynprobe.store import budget_bytes

KEY = "layers.1.mixer"


@pytest.fixture
def model():
    config = MambaConfig(vocab_size=30, hidden_size=8, state_size=4, num_hidden_layers=2)
    return MambaModel(config).eval()


@pytest.fixture
def batch():
    ids = torch.randint(0, 30, (3, 20))
    mask = torch.ones(3, 20, dtype=torch.int64)
    mask[0, :3] = 0  # padded on the left
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


def record(model, batch, **options):
    with torch.no_grad(), dynprobe.attach(model, **options) as probe:
        model(**batch)
    return probe.recording(KEY)


def test_factors_are_the_states_without_their_memory(model, batch):
    full, rec = record(model, batch), record(model, batch, store="factors")
    assert "kept: factors" in repr(rec)
    assert rec.nbytes < 0.7 * (full.nbytes + full.states.nbytes)
    with pytest.raises(
        LargeStatesError, match=r"as factors: all its states would take .*rec\.part"
    ):
        _ = rec.states
    for every in (1, 4, 16):
        torch.testing.assert_close(rec.part("ssm", every=every), full.part("ssm", every=every))
    torch.testing.assert_close(rec.final, full.final)
    x = torch.randn(5, full.layout.size)
    torch.testing.assert_close(rec.project(x), full.project(x))
    torch.testing.assert_close(rec.gram(), full.gram())
    torch.testing.assert_close(rec.pca(2).variance, full.pca(2).variance)
    torch.testing.assert_close(rec[1:].part("ssm", every=4), full[1:].part("ssm", every=4))
    torch.testing.assert_close(rec.form_states().states, full.states)


def test_padding_before_a_sequence_does_not_count(model, batch):
    rec = record(model, batch)
    assert rec.lengths.tolist() == [17, 20, 20]
    alone = {"input_ids": batch["input_ids"][:1, 3:], "use_cache": False}
    torch.testing.assert_close(rec.states[0, :17], record(model, alone).states[0])


@pytest.mark.parametrize("every", [2, 5, 16])
def test_every_kth(model, batch, every):
    full, rec = record(model, batch), record(model, batch, store=dynprobe.Store(every=every))
    with pytest.raises(LargeStatesError, match="the other states are gone"):
        _ = rec.states
    assert f"the state after every {every}{'nd' if every == 2 else 'th'} token" in repr(rec)
    for row in range(3):
        steps = rec.steps[row, : rec.lengths[row]]
        # counted from the beginning of the call, which for the first row is padding
        expected = torch.arange(every - 1, 20, every) - (3 if row == 0 else 0)
        assert steps.tolist() == expected[expected >= 0].tolist()
        torch.testing.assert_close(rec.kept[row, : len(steps)], full.states[row, steps])
        assert torch.equal(rec.tokens[row, : len(steps)], full.tokens[row, steps])
    torch.testing.assert_close(rec[1:].part("ssm", every=every), full[1:].part("ssm", every=every))
    assert rec.flat().shape == (int(rec.lengths.sum()), full.layout.size)


def test_final(model, batch):
    full, rec = record(model, batch), record(model, batch, store="final")
    torch.testing.assert_close(rec.final, full.final)
    assert rec.shape[:2] == (3, 1)
    assert rec.steps.flatten().tolist() == [16, 19, 19]
    assert rec.nbytes < 0.1 * full.states.nbytes


def test_projections(model, batch):
    full = record(model, batch)
    x = torch.randn(5, full.layout.size)
    rec = record(model, batch, store=dynprobe.Store(project=x))
    torch.testing.assert_close(rec.project(), full.project(x))
    with pytest.raises(LargeStatesError, match="other directions cannot be had"):
        rec.project(x)
    drawn = record(model, batch, store=dynprobe.Store(project=7, seed=3))
    again = record(model, batch, store=dynprobe.Store(project=7, seed=3))
    assert drawn.project().shape == (3, 20, 7)
    assert torch.equal(drawn.project(), again.project())
    with pytest.raises(ShapeError, match="the state has"):
        record(model, batch, store=dynprobe.Store(project=torch.ones(2, 3)))


def test_dtype(model, batch):
    rec = record(model, batch, store=dynprobe.Store(dtype=torch.bfloat16))
    assert rec.states.dtype == torch.bfloat16
    final = record(model, batch, store=dynprobe.Store("final", dtype=torch.float16))
    assert final.final.dtype == torch.float16


@pytest.mark.parametrize("store", ["factors", "final", dynprobe.Store(every=4)], ids=str)
def test_a_torch_layer_keeps_less_too(store):
    lstm = nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True)
    x = torch.randn(3, 12, 4)
    with torch.no_grad(), dynprobe.attach(lstm) as probe:
        lstm(x)
    with torch.no_grad(), dynprobe.attach(lstm, store=store) as less:
        lstm(x)
    for info in probe.layers:
        full, rec = probe.recording(info.key), less.recording(info.key)
        if store == "factors":  # there are none: every state is kept
            assert torch.equal(rec.states, full.states)
            continue
        rows = torch.arange(3)[:, None]
        torch.testing.assert_close(rec.kept, full.states[rows, rec.steps])
        if store == "final":
            torch.testing.assert_close(rec.final, full.final)


@pytest.mark.parametrize(
    "store",
    ["factors", "final", "states", dynprobe.Store(every=4), dynprobe.Store(project=3)],
    ids=str,
)
def test_files(model, batch, store, tmp_path):
    rec = record(model, batch, store=store)
    again = dynprobe.load(rec.save(tmp_path / "run"))
    assert repr(again) == repr(rec)
    if store == "factors":
        torch.testing.assert_close(again.part("ssm", every=2), rec.part("ssm", every=2))
    elif store == "states":  # still factors in the file: formed where they are asked for
        torch.testing.assert_close(again.states, rec.states)
    else:
        assert torch.equal(again.kept, rec.kept)


def test_generated_tokens_kept_in_part(model):
    """One call a token: every call keeps its own multiples, steps are counted through."""
    from transformers import MambaForCausalLM

    lm = MambaForCausalLM(model.config).eval()
    ids = torch.randint(0, 30, (1, 5))
    with torch.no_grad(), dynprobe.attach(lm, store="final") as probe:
        text = lm.generate(ids, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    with torch.no_grad(), dynprobe.attach(lm) as whole:
        lm(text[:, :-1])
    rec = probe.recording("backbone.layers.0.mixer")
    full = whole.recording("backbone.layers.0.mixer")
    assert rec.steps.tolist() == [[4, 5, 6]]
    torch.testing.assert_close(rec.kept[0], full.states[0, 4:])


def test_budget_is_checked_before_memory_is_used(model, batch):
    with pytest.raises(BudgetError, match=r"needs .* of the budget of 1 kB.*store='factors'"):
        record(model, batch, budget="1 kB")
    # the factors fit, the states do not: nothing recorded is lost
    with torch.no_grad(), dynprobe.attach(model, budget=30_000) as probe:
        model(**batch)
    rec = probe.recording(KEY)
    with pytest.raises(BudgetError, match="They are kept as factors"):
        _ = rec.states
    assert rec.part("ssm", every=16).shape == (3, 1, 16, 4)
    assert rec.form_states(budget="1 MB").states.shape == (3, 20, 64)


@pytest.mark.parametrize("store", ["factors", dynprobe.Store(every=4)], ids=str)
def test_what_is_kept_is_what_was_counted(model, batch, store):
    with torch.no_grad(), dynprobe.attach(model, store=store) as probe:
        model(**batch)
    held = {}
    for layer in probe._layers.values():
        for traced in layer.calls:
            call, segments = traced.call, traced.segments.values()
            tensors = [call.inputs, call.outputs, *call.passed, *call.returned, call.scale]
            tensors += [t for s in segments for t in (s.states, s.inputs) if t is not None]
            held |= {t.data_ptr(): t.untyped_storage().nbytes() for t in tensors if t.numel()}
    assert sum(held.values()) == pytest.approx(probe._tracer.budget.used, rel=0.05)


def test_a_budget_that_is_used_up_keeps_what_came_before():
    rnn = nn.RNN(4, 8, batch_first=True)
    with torch.no_grad(), dynprobe.attach(rnn, budget=4000) as probe:
        x = torch.randn(2, 20, 4)
        rnn(x)
        with pytest.raises(BudgetError, match=r"3\.97 kB of the budget of 4 kB are used"):
            for _ in range(3):
                rnn(x)
        assert len(probe.recording()) == 4
        probe.clear()
        rnn(x)
    assert len(probe.recording()) == 2


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("2 GiB", 2 << 30), ("500MB", 500_000_000), (7, 7), (None, 4 << 30), ("1.5 k", 1500)],
)
def test_budgets(text, bytes_):
    assert budget_bytes(text) == bytes_


@pytest.mark.parametrize(
    "bad",
    [
        lambda: dynprobe.Store("some"),
        lambda: dynprobe.Store(every=0),
        lambda: dynprobe.Store("final", every=2),
        lambda: dynprobe.Store(every=2, project=3),
        lambda: budget_bytes("a lot"),
    ],
)
def test_nonsense(bad):
    with pytest.raises(DynprobeError):
        bad()


def test_a_report_on_factors_shows_what_one_on_states_shows(model, batch, tmp_path):
    views = []
    for store in ("factors", "states"):
        with torch.no_grad(), dynprobe.attach(model, store=store) as probe:
            model(**batch)
        report = probe.analyze("state_spectrum", layers=KEY)
        report.save(tmp_path / f"{store}.html")
        views.append(report.views[KEY])
    less, full = views
    assert probe.recording(KEY).kept is not None
    assert less.states_seen == full.states_seen == len(less.points) == len(full.points)
    torch.testing.assert_close(less.variance_ratio, full.variance_ratio, rtol=1e-4, atol=1e-6)
    sign = (less.components * full.components).sum(1).sign()
    for a, b in zip(less.trajectories, full.trajectories, strict=True):
        torch.testing.assert_close(a * sign, b, rtol=1e-3, atol=1e-4)


def test_analyses_of_what_was_not_kept_say_so(model, batch):
    with torch.no_grad(), dynprobe.attach(model, store="factors") as probe:
        model(**batch)
    report = probe.analyze(layers=KEY)
    assert not report.failures
    assert [name for name, _ in report.results] == ["state_spectrum"]
    assert "form_states" in report.skipped["manifold_dimension", KEY]
    assert "needs every state (recorded: factors)" in report.skipped["fixed_points", KEY]
    with torch.no_grad(), dynprobe.attach(model, store=dynprobe.Store(every=3)) as probe:
        model(**batch)
    report = probe.analyze(layers=KEY)
    assert report["manifold_dimension"].visited.count == int(probe.recording(KEY).lengths.sum())
    assert "needs every state" in report.skipped["fixed_points", KEY]
