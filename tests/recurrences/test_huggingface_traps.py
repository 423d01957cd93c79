"""What transformers' models do that corrupts what a naive recorder stores: each is named."""

from __future__ import annotations

import dataclasses
import warnings

import hf_models
import pytest
import torch
from test_huggingface import audible, built
from transformers.models.mamba import modeling_mamba

import dynprobe
from dynprobe.errors import DynprobeError, NoRecurrenceError, RecordingWarning

FAMILIES = hf_models.BY_NAME


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RecordingWarning)
        yield


def ids_(batch=1, time=6):
    return torch.randint(3, hf_models.VOCABULARY, (batch, time))


@pytest.mark.skipif(
    not hasattr(modeling_mamba, "mamba_selective_scan"),
    reason="this release of transformers continues from a warm cache",
)
def test_several_tokens_on_a_warm_mamba1_cache():
    """The model restarts from zero; the recording shows that, and says so."""
    model, ids = built(FAMILIES["mamba"]), ids_(time=8)
    with torch.no_grad():
        cache = model(ids[:, :5], use_cache=True).cache_params
        with dynprobe.attach(model) as probe, pytest.warns(RecordingWarning, match="restarted"):
            cache = model(ids[:, 5:], use_cache=True, cache_params=cache).cache_params
        with dynprobe.attach(model) as whole:
            model(ids)
    rec = probe.recording("backbone.layers.0.mixer")
    final = hf_models.from_cache(cache, model.backbone.layers[0].mixer).flatten(1)
    torch.testing.assert_close(rec.final, final)  # what the model itself computed
    truth = whole.recording("backbone.layers.0.mixer").final
    assert (rec.final - truth).norm() / truth.norm() > 0.05


def test_a_time_step_limit_that_decoding_does_not_apply():
    family = FAMILIES["mamba2"]
    limited = dataclasses.replace(family, config={**family.config, "time_step_limit": (0.3, 0.6)})
    model, ids = built(limited), ids_(time=5)
    if not hasattr(hf_models.module_of(model), "mamba2_chunk_scan"):
        pytest.skip("this release of transformers applies the limit in both")
    with torch.no_grad(), dynprobe.attach(model) as probe:
        cache = model(ids, use_cache=True).cache_params
        with pytest.warns(RecordingWarning, match="time_step_limit"):
            cache = model(ids[:, :1], use_cache=True, cache_params=cache).cache_params
    rec = probe.recording("backbone.layers.0.mixer")
    final = hf_models.from_cache(cache, model.backbone.layers[0].mixer).flatten(1)
    torch.testing.assert_close(rec.final, final, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model_name", ["mamba", "mamba2", "qwen3_next"])
def test_right_padding(model_name):
    """Recorded states end with the text; the warning says that the model's cache does not."""
    model, ids = built(FAMILIES[model_name]), ids_(batch=2, time=7)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    with torch.no_grad():
        with dynprobe.attach(model) as probe:
            with pytest.warns(RecordingWarning, match="padded on the right"):
                model(ids, attention_mask=mask, use_cache=True)
        with dynprobe.attach(model) as alone:
            model(ids[:1, :4])
    key = probe.layers[0].key
    rec = probe.recording(key)
    assert rec.lengths.tolist() == [4, 7]
    torch.testing.assert_close(rec.final[:1], alone.recording(key).final, rtol=1e-4, atol=1e-6)
    assert not rec.states[0, 4:].any()


@pytest.mark.parametrize("model_name", ["mamba", "mamba2", "qwen3_next", "kimi_linear"])
def test_left_padding_is_fine(model_name):
    model, ids = built(FAMILIES[model_name]), ids_(batch=2, time=7)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    with torch.no_grad():
        with dynprobe.attach(model) as probe:
            model(ids, attention_mask=mask)
        with dynprobe.attach(model) as alone:
            model(ids[:1, 3:])
    key = probe.layers[0].key
    states = probe.recording(key).states[0, :4]
    torch.testing.assert_close(states, alone.recording(key).states[0], rtol=1e-4, atol=1e-6)


def test_positions_that_begin_again_on_a_warm_cache():
    model, ids = built(FAMILIES["bamba"]), ids_(time=4)
    if not audible(model.model.layers[0].mamba):
        pytest.skip("this release computes the states where nobody can listen")
    with torch.no_grad(), dynprobe.attach(model):
        cache = model(ids, use_cache=True).past_key_values
        token = ids[:, :1]
        model(token, past_key_values=cache, position_ids=torch.tensor([[4]]))
        model(token)  # a fresh start at 0 is no mistake
        try:
            with pytest.warns(RecordingWarning, match="positions begin again at 0"):
                model(token, past_key_values=cache)
        except pytest.fail.Exception:
            pytest.skip("this release of transformers counts positions on by itself")


def test_rwkv_decodes_one_sequence_at_a_time():
    model, ids = built(FAMILIES["rwkv"]), ids_(batch=2, time=4)
    with torch.no_grad(), dynprobe.attach(model) as probe:
        state = model(ids, use_cache=True).state
        with pytest.raises((RuntimeError, DynprobeError)):
            model(ids[:, :1], state=state, use_cache=True)
            probe.recording("rwkv.blocks.0.attention")


@pytest.mark.parametrize("model_name", ["xlstm", "minimax"])
def test_states_in_half_precision(model_name):
    model, ids = built(FAMILIES[model_name]), ids_(time=6)
    if model_name == "xlstm":
        family = dataclasses.replace(
            FAMILIES["xlstm"],
            config={**FAMILIES["xlstm"].config, "inference_state_dtype": "bfloat16"},
        )
        model = built(family)
    else:
        model = model.to(torch.bfloat16)
    with torch.no_grad(), dynprobe.attach(model) as probe:
        with pytest.warns(RecordingWarning, match="keeps its state in torch.bfloat16"):
            model(ids, use_cache=True)
    assert probe.recording(probe.layers[0].key).states.dtype == torch.float32


@pytest.mark.parametrize("model_name", ["mamba", "mamba2", "qwen3_next", "rwkv", "recurrent_gemma"])
def test_caches_are_overwritten_in_place_and_recordings_are_not(model_name):
    family = FAMILIES[model_name]
    model, ids = built(family), ids_(time=5)
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model.generate(ids, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    rec = probe.recording(probe.layers[0].key)
    moved = (rec.states[:, 1:] - rec.states[:, :-1]).norm(dim=-1)
    assert bool((moved > 0).all())
    recurrence = probe.recurrence(probe.layers[0].key)
    stepped = recurrence.step(rec.before[0], rec.inputs[0])
    torch.testing.assert_close(stepped, rec.states[0], rtol=1e-4, atol=1e-6)


def test_convolutions_are_no_recurrence():
    config = {
        **hf_models.SMALL,
        **hf_models.ATTENTION,
        "layer_types": ["conv", "full_attention"],
    }
    model = hf_models.Family("lfm2", "Lfm2ForCausalLM", config).build()
    with pytest.raises(NoRecurrenceError, match=r"short convolutions .*finite impulse response"):
        dynprobe.attach(model)


def test_a_hybrid_shows_its_recurrent_layers_only():
    model = built(FAMILIES["qwen3_next"])
    with dynprobe.attach(model) as probe:
        assert [info.key for info in probe.layers] == ["model.layers.0.linear_attn"]
        assert "bytes a token" in probe.layers[0].how


def test_a_wrapper_of_the_users_own():
    """Matched by the mixer's class: what is around it, and subclasses of it, do not matter."""

    class Own(modeling_mamba.MambaMixer):
        pass

    class Wrapper(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = built(FAMILIES["mamba"])
            for layer in self.inner.backbone.layers:
                layer.mixer.__class__ = Own

        def forward(self, ids):
            return self.inner(ids).logits.mean()

    model, ids = Wrapper(), ids_(batch=2)
    with torch.no_grad():
        with dynprobe.attach(model) as probe:
            model(ids)
        with dynprobe.attach(model.inner) as inner:
            model.inner(ids)
    key = "backbone.layers.1.mixer"
    assert torch.equal(probe.recording(f"inner.{key}").states, inner.recording(key).states)


def test_a_vision_language_model():
    """Its language model is matched by the mixer's class; text alone runs through it."""
    try:
        from transformers.models.qwen3_5 import configuration_qwen3_5, modeling_qwen3_5
    except ImportError:
        pytest.skip("qwen3_5: not in this release of transformers")
    text = FAMILIES["qwen3_5"].config
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 16,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
    }
    config = configuration_qwen3_5.Qwen3_5Config(text_config=dict(text), vision_config=vision)
    model = modeling_qwen3_5.Qwen3_5ForConditionalGeneration(config).eval()
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(input_ids=ids_(batch=2))
    (info,) = probe.layers
    assert info.key.endswith("linear_attn")
    assert probe.recording().states.shape == (2, 6, 4 * 8 * 12)
