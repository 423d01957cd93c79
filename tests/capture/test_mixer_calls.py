"""Calls of mixers one after another: handed on or not, interrupted, checkpointed, kept in part."""

from __future__ import annotations

import warnings

import hf_models
import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.errors import RecordingWarning, SequenceError
from dynprobe.recurrences.taps import _OPEN


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def build(name):
    return hf_models.BY_NAME[name].build()


def ids_(batch=2, time=12):
    return torch.randint(3, hf_models.VOCABULARY, (batch, time))


def error(a, b):
    return float((a - b).norm() / b.norm())


def test_a_forced_sequence_shows_what_the_model_did():
    """The second call was given no state: the model began from zero, and so does the recording."""
    model, ids = build("mamba2"), ids_()
    with torch.no_grad(), dynprobe.attach(model) as probe, probe.sequence():
        model(ids[:, :6])
        cache = model(ids[:, 6:], use_cache=True).cache_params
    key = probe.layers[0].key
    final = hf_models.from_cache(cache, model.backbone.layers[0].mixer).flatten(1)
    assert probe.recording(key).lengths.tolist() == [12, 12]
    assert error(probe.recording(key).final, final) <= 1e-5


def test_weights_that_change_between_prompt_and_token():
    model, ids = build("mamba2"), ids_()
    mixer = model.backbone.layers[0].mixer
    with torch.no_grad(), dynprobe.attach(model) as probe:
        cache = model(ids[:, :8], use_cache=True).cache_params
        mixer.A_log.data.add_(1)
        cache = model(ids[:, 8:9], cache_params=cache, use_cache=True).cache_params
    final = hf_models.from_cache(cache, mixer).flatten(1)
    assert error(probe.recording(probe.layers[0].key).final, final) <= 1e-5


@pytest.mark.parametrize("name", ["xlstm", "mamba2", "qwen3_next"])
@pytest.mark.parametrize("store", ["states", "final"])
def test_rows_of_unequal_length_padded_on_the_left(name, store):
    model, ids = build(name), ids_()
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    with torch.no_grad():
        with dynprobe.attach(model, store=store) as probe:
            model(ids, attention_mask=mask)
        with dynprobe.attach(model) as alone:
            model(ids[:1])
    for info in probe.layers:
        expected = alone.recording(info.key).final[0]
        assert error(probe.recording(info.key).final[0], expected) <= 1e-5


@pytest.mark.parametrize("every", [2, 4, 5])
def test_every_kth_is_counted_through_generated_tokens(every):
    model, ids = build("mamba"), ids_(1, 5)
    with torch.no_grad():
        with dynprobe.attach(model, store=dynprobe.Store(every=every)) as probe:
            text = model.generate(ids, max_new_tokens=8, min_new_tokens=8, do_sample=False)
        with dynprobe.attach(model) as whole:
            model(text[:, :-1])
    for info in probe.layers:
        rec, full = probe.recording(info.key), whole.recording(info.key).states
        assert rec.steps[0].tolist() == list(range(every - 1, 12, every))
        assert error(rec.kept[0], full[0, rec.steps[0]]) <= 1e-5


def test_every_kth_of_a_cell_in_a_loop():
    cell, x = nn.GRUCell(3, 4), torch.randn(7, 2, 3)
    with torch.no_grad(), dynprobe.attach(cell, store=dynprobe.Store(every=3)) as probe:
        h, seen = torch.zeros(2, 4), []
        for step in x:
            h = cell(step, h)
            seen.append(h)
    assert torch.equal(probe.recording().kept, torch.stack([seen[2], seen[5]], dim=1))


def test_decoded_tokens_do_not_keep_a_state_each():
    model, ids = build("mamba"), ids_(1, 4)
    with torch.no_grad(), dynprobe.attach(model, store="factors") as probe:
        model.generate(ids, max_new_tokens=20, min_new_tokens=20, do_sample=False)
    layer = probe._layers[probe.layers[0].key]
    states = sum(s.numel() for t in layer.calls for s in (*t.call.passed, *t.call.returned))
    assert states <= 2 * layer.top.state_dim


def test_half_precision_caches_are_followed():
    family = hf_models.BY_NAME["xlstm"]
    model, ids = family.build().to(torch.bfloat16), ids_(1, 6)
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    assert probe.recording(probe.layers[0].key).lengths.tolist() == [9]


def test_two_streams_in_turn_are_said_to_be_cut():
    model, ids = build("mamba"), ids_(2, 6)
    with torch.no_grad(), dynprobe.attach(model) as probe:
        caches = [model(ids[i : i + 1], use_cache=True).cache_params for i in range(2)]
        for _ in range(2):
            for i in range(2):
                model(ids[i : i + 1, :1], cache_params=caches[i], use_cache=True)
    with pytest.warns(UserWarning, match="sequences were cut"):
        probe.recording(probe.layers[0].key)


def test_gram_and_total_variance_do_not_depend_on_the_form():
    for name in ("rwkv", "xlstm"):
        model, ids = build(name), ids_(1, 8)
        with torch.no_grad(), dynprobe.attach(model) as probe:
            model(ids)
        rec = probe.recording(probe.layers[0].key)
        gram, pca = rec.gram(), rec.pca(2)
        rec.form_states()
        torch.testing.assert_close(rec.gram(), gram)
        torch.testing.assert_close(rec.pca(2).variance, pca.variance, rtol=1e-4, atol=1e-6)


def test_total_variance_far_from_the_origin():
    x = torch.randn(4, 100, 8) * 0.01 + 100
    pca = dynprobe.Recording.from_arrays(x).pca(3)
    exact = float(x.double().flatten(0, 1).var(0).sum())
    assert pca.total_variance == pytest.approx(exact, rel=1e-3)


def test_autocast_is_for_the_model_only():
    model, ids = build("mamba2"), ids_()
    directions = torch.randn(5, 8 * 8 * 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        with dynprobe.attach(model, store=dynprobe.Store(project=directions)) as projected:
            model(ids)
        with dynprobe.attach(model) as probe:
            model(ids)
        key = probe.layers[0].key
        inside = probe.recording(key).project(directions)
    rec = probe.recording(key)
    exact = rec.form_states().states @ directions.T
    assert error(inside, exact) <= 1e-5
    assert error(projected.recording(key).project(), exact) <= 1e-5


def test_final_states_of_two_runs_in_one_forward():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 4, batch_first=True)

        def forward(self, a, b, lengths):
            return self.rnn(a)[0], self.rnn(b)[0]

    model, x = Twice(), torch.randn(2, 6, 3)
    with torch.no_grad(), dynprobe.attach(model, store="final") as probe:
        with pytest.raises(SequenceError, match="which of its runs"):
            model(x, x, torch.tensor([2, 6]))
        model(x, x, torch.tensor([6, 6]))
    assert len(probe.recording()) == 4


def test_ctrl_c_leaves_nothing_open():
    model, other, ids = build("mamba"), build("mamba"), ids_(1, 4)

    def interrupt(*_):
        raise KeyboardInterrupt

    with torch.no_grad(), dynprobe.attach(model) as probe:
        handle = model.backbone.layers[1].mixer.out_proj.register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            model(ids)
        handle.remove()
        model(ids)
        assert _OPEN.get() == ()
        other(ids)
    assert _OPEN.get() == ()
    assert probe.recording(probe.layers[1].key).states.shape[:2] == (1, 4)


def test_ctrl_c_in_a_compiled_model_gives_the_stance_back():
    torch._dynamo.reset()
    gru = nn.GRU(3, 4, batch_first=True)
    model = torch.compile(gru, backend="eager")

    def interrupt(*_):
        raise KeyboardInterrupt

    probe = dynprobe.attach(model)
    handle = gru.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(torch.randn(1, 2, 3))
    handle.remove()
    probe.detach()
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_two_probes_on_a_model_compiled_in_place():
    torch._dynamo.reset()
    model = nn.GRU(3, 4, batch_first=True)
    model.compile(backend="eager")
    compiled = model._compiled_call_impl
    a, b = dynprobe.attach(model), dynprobe.attach(model)
    a.detach()
    model(torch.randn(1, 2, 3))
    assert b.layers[0].calls == 1
    b.detach()
    assert model._compiled_call_impl is compiled


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(detach, reentrant):
    model, ids = build("mamba2").train(), ids_()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    with dynprobe.attach(model, detach=detach) as probe:
        model(ids, labels=ids, use_cache=False).loss.backward()
    watched = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    assert [info.calls for info in probe.layers] == [1, 1]
    model.zero_grad()
    model(ids, labels=ids, use_cache=False).loss.backward()
    plain = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(watched, plain, strict=True))


def test_gradients_through_many_states():
    model = build("mamba")
    with dynprobe.attach(model, detach=False, store="final") as probe:
        model(ids_(32, 4), use_cache=False)
    final = probe.recording(probe.layers[0].key).final
    (grad,) = torch.autograd.grad(final.sum(), model.backbone.embeddings.weight)
    assert grad.abs().sum() > 0


def test_a_forward_that_raises_is_forgotten_in_every_layer():
    model, ids = build("mamba"), ids_(2, 4)

    def fail(*_):
        raise RuntimeError("on purpose")

    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(ids)
        used = probe._tracer.budget.used
        handle = model.backbone.layers[1].mixer.out_proj.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            model(ids)
        handle.remove()
        assert probe._tracer.budget.used == used
        model(ids)
    assert [info.calls for info in probe.layers] == [2, 2]
    assert [len(probe.recording(info.key)) for info in probe.layers] == [4, 4]


def test_one_budget_for_all_recordings():
    model, ids = build("mamba"), ids_(2, 12)
    with torch.no_grad(), dynprobe.attach(model, budget=60_000) as probe:
        model(ids)
    first, second = (probe.recording(info.key) for info in probe.layers)
    assert first.states.shape == (2, 12, 256)  # 24.6 kB
    with pytest.raises(dynprobe.errors.BudgetError):
        _ = second.states


def test_a_failed_attach_leaves_no_hook():
    model = nn.GRU(3, 4)
    with pytest.raises(dynprobe.DynprobeError):
        dynprobe.attach(model, store=dynprobe.Store(project=torch.ones(2, 9)))
    assert not model._forward_pre_hooks
    assert not model._forward_hooks


def test_warnings_as_errors_do_not_cost_the_states():
    model, ids = build("mamba"), ids_(2, 6)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    with torch.no_grad(), dynprobe.attach(model) as probe, warnings.catch_warnings():
        warnings.simplefilter("error", RecordingWarning)
        with pytest.raises(RecordingWarning):
            model(ids, attention_mask=mask, use_cache=True)
        model(ids, use_cache=True)
    assert probe.recording(probe.layers[0].key).states.shape == (2, 6, 256)
