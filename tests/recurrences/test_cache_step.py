"""A transformers model as one map, against the model's own token-by-token decoding."""

from __future__ import annotations

import copy
import importlib

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.capture.hooks import Handles
from dynprobe.errors import JointMapError, ShapeError
from dynprobe.recurrences.cache_step import CacheRecurrence
from dynprobe.recurrences.joint import joint_recurrence

transformers = pytest.importorskip("transformers")

COMMON = {"vocab_size": 11, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12}
MAMBA2 = {
    "mamba_n_heads": 4,
    "mamba_d_head": 4,
    "mamba_n_groups": 1,
    "mamba_d_state": 3,
    "mamba_d_conv": 3,
    "mamba_chunk_size": 4,
}
# name: (model class, config class, config), each a few hundred state numbers
MODELS = {
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {"num_hidden_layers": 2, "state_size": 3, "conv_kernel": 3, "time_step_rank": 2},
    ),
    "mamba2": (
        "Mamba2ForCausalLM",
        "Mamba2Config",
        {
            "num_hidden_layers": 2,
            "state_size": 3,
            "conv_kernel": 3,
            "num_heads": 4,
            "head_dim": 4,
            "n_groups": 1,
            "chunk_size": 4,
        },
    ),
    "qwen3_next": (
        "Qwen3NextForCausalLM",
        "Qwen3NextConfig",
        {
            **ATTENTION,
            "num_hidden_layers": 3,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
            "head_dim": 4,
            "linear_conv_kernel_dim": 3,
            "linear_key_head_dim": 4,
            "linear_value_head_dim": 4,
            "linear_num_key_heads": 1,
            "linear_num_value_heads": 2,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 8,
            "shared_expert_intermediate_size": 8,
        },
    ),
    "jamba": (
        "JambaForCausalLM",
        "JambaConfig",
        {
            **ATTENTION,
            "num_hidden_layers": 3,
            "mamba_d_state": 3,
            "mamba_d_conv": 3,
            "mamba_dt_rank": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 4,
            "num_experts_per_tok": 2,
        },
    ),
    "bamba": (  # counts positions from zero at each call unless they are given
        "BambaForCausalLM",
        "BambaConfig",
        {**ATTENTION, **MAMBA2, "num_hidden_layers": 3, "attn_layer_indices": [1]},
    ),
    "minimax": (  # a cache class of its own
        "MiniMaxForCausalLM",
        "MiniMaxConfig",
        {
            **ATTENTION,
            "num_hidden_layers": 3,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
            "head_dim": 4,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "block_size": 4,
        },
    ),
}
PURE = ["mamba", "mamba2"]
HYBRID = ["qwen3_next", "jamba", "bamba", "minimax"]
HIDDEN = 8


def build(name):
    model_class, config_class, config = MODELS[name]
    torch.manual_seed(0)
    made = getattr(transformers, config_class)(**COMMON, hidden_size=HIDDEN, **config)
    model = getattr(transformers, model_class)(made).eval()
    with torch.no_grad():  # initial weights are so small that the layers hardly speak
        for p in model.parameters():
            if p.dim() > 1:
                p.add_(0.2 * torch.randn_like(p))
    return model


def embeddings(batch, time, seed=1):
    return torch.randn(batch, time, HIDDEN, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def decode(model, x, cache=None, start=0):
    """The model's own forward over (batch, time, hidden); returns its cache, changed in place."""
    argument = "cache_params" if hasattr(model, "backbone") else "past_key_values"
    options = {argument: cache}
    if argument == "past_key_values":
        position = torch.arange(start, start + x.shape[1])
        options["position_ids"] = position.expand(x.shape[:2])
    return getattr(model(inputs_embeds=x, use_cache=True, **options), argument)


def close(a, b, relative=1e-5):
    assert b.abs().max() > 1e-3
    assert (a - b).abs().max() <= relative * b.abs().max()


@pytest.mark.parametrize("name", PURE)
def test_a_rollout_is_the_models_own_decoding(name):
    model, x = build(name), embeddings(3, 7)
    recurrence = CacheRecurrence(model)
    with torch.no_grad():
        states = recurrence.rollout(recurrence.initial(3), x)
    cache = None
    for t in range(x.shape[1]):
        cache = decode(model, x[:, t : t + 1], cache)
        close(states[:, t], recurrence.state_of(cache))


@pytest.mark.parametrize("name", MODELS)
def test_each_step_is_the_models_own_after_the_same_context(name):
    model, x = build(name), embeddings(2, 8)
    cache = decode(model, x[:, :4])
    for t in range(4, 8):
        recurrence = CacheRecurrence(model, cache)
        before = recurrence.initial(2)
        with torch.no_grad():
            after = recurrence.step(before, x[:, t])
        cache = decode(model, x[:, t : t + 1], cache, start=t)
        assert not torch.equal(after, before)
        close(after, recurrence.state_of(cache))


@pytest.mark.parametrize("name", HYBRID)
def test_keys_of_the_context_are_held_and_what_a_step_appends_is_dropped(name):
    model, x = build(name), embeddings(1, 9)
    context = decode(model, x[:, :5])
    recurrence = CacheRecurrence(model, context)
    assert "look back on 5 held tokens" in repr(recurrence)
    with torch.no_grad():
        states = recurrence.rollout(recurrence.initial(), x[:, 5:])
    state = recurrence.initial()
    for t in range(4):
        cache = copy.deepcopy(context)
        for part, value in recurrence.layout.split(state).items():
            where = [int(word) for word in part.split(".") if word.isdigit()]
            if part.startswith("linear"):
                cache.linear_cache[where[0]] = value
            elif part.endswith("conv"):
                cache.layers[where[0]].conv_states[0] = value.clone()
            else:
                cache.layers[where[0]].recurrent_states[0] = value.clone()
        state = recurrence.state_of(decode(model, x[:, 5 + t : 6 + t], cache, start=5))
        close(states[:, t], state)
    appended = decode(model, x[:, 5:8], copy.deepcopy(context), start=5)
    own = recurrence.state_of(decode(model, x[:, 8:9], appended, start=8))
    assert (states[:, 3] - own).abs().max() > 1e-4  # holding the keys does make a difference


def test_without_a_context_attention_sees_the_token_alone():
    recurrence = CacheRecurrence(build("jamba"))
    assert "see the token alone" in repr(recurrence)
    assert recurrence.initial(2).count_nonzero() == 0
    close(
        recurrence.step(recurrence.initial(2), embeddings(2, 1)[:, 0]),
        recurrence.state_of(decode(build("jamba"), embeddings(2, 1))),
    )


def test_parts_are_named_by_layer():
    assert CacheRecurrence(build("jamba")).layout.names == (
        "layers.0.conv",
        "layers.0.recurrent",
        "layers.2.conv",
        "layers.2.recurrent",
    )


@pytest.mark.parametrize("with_context", [False, True], ids=["fresh", "context"])
@pytest.mark.parametrize("name", MODELS)
def test_the_jacobians_are_central_differences_in_float64(name, with_context):
    model = build(name)
    context = decode(model, embeddings(1, 4)) if with_context else None
    recurrence = CacheRecurrence(model, context)
    g = torch.Generator().manual_seed(3)
    s = 0.3 * torch.randn(2, recurrence.state_dim, generator=g, dtype=torch.float64)
    x = torch.randn(2, HIDDEN, generator=g, dtype=torch.float64)

    @torch.no_grad()
    def difference(f, at, h=1e-5):
        """Each row of the batch by itself: one step over all its directions at once."""
        steps = h * torch.eye(at.shape[1], dtype=torch.float64)
        ahead, behind = (
            torch.stack([f(row + k * steps, b) for b, row in enumerate(at)]) for k in (1, -1)
        )
        return ((ahead - behind) / (2 * h)).mT

    by_state = difference(lambda v, b: recurrence.step(v, x[b].expand(len(v), -1)), s)
    by_input = difference(lambda v, b: recurrence.step(s[b].expand(len(v), -1), v), x)
    assert by_input.abs().max() > 1e-2
    # far below float32 rounding: every part of the step computes in float64
    assert torch.allclose(recurrence.jacobian(s, x), by_state, rtol=1e-7, atol=2e-8)
    assert torch.allclose(recurrence.input_jacobian(s, x), by_input, rtol=1e-7, atol=2e-8)


@pytest.mark.parametrize("name", ["mamba", "jamba"])
def test_gradients_flow_through_a_rollout(name):
    recurrence = CacheRecurrence(build(name))
    s = (0.1 + recurrence.initial()).double().requires_grad_(True)
    x = embeddings(1, 4).double()
    recurrence.rollout(s, x)[:, -1].sum().backward()
    direction = torch.randn(s.shape, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        ahead, behind = (
            recurrence.rollout(s + k * direction, x)[:, -1].sum() for k in (1e-5, -1e-5)
        )
    slope = (s.grad * direction).sum()
    assert slope.abs() > 1e-3
    assert torch.isclose(slope, (ahead - behind) / 2e-5, rtol=1e-6)


class Watcher:
    """Counts what the hooks of a probe would see."""

    seen = 0

    def see(self, *_):
        self.seen += 1


@pytest.mark.parametrize("name", ["mamba2", "qwen3_next"])
def test_model_and_context_stay_as_they_are(name):
    model = build(name).train()
    context = decode(copy.deepcopy(model).eval(), embeddings(1, 4))
    watcher = Watcher()
    handles = Handles()
    for module in model.modules():
        handles.after(module, watcher.see, "")
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    states = CacheRecurrence(model, context).initial()
    random = torch.get_rng_state()

    recurrence = CacheRecurrence(model, context)
    recurrence.jacobian(recurrence.initial(), embeddings(1, 1)[:, 0])

    assert torch.equal(torch.get_rng_state(), random)
    assert watcher.seen == 0
    assert model.training
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(CacheRecurrence(model, context).initial(), states)
    if name == "qwen3_next":
        assert context.get_seq_length() == 4
    # and the other way round: the context may go on
    before = recurrence.initial()
    decode(copy.deepcopy(model).eval(), embeddings(1, 1), context, start=4)
    assert torch.equal(recurrence.initial(), before)


def test_the_map_follows_the_weights_and_is_that_of_eval_mode():
    model, x = build("jamba"), embeddings(2, 1)[:, 0]
    recurrence = CacheRecurrence(model)
    s = recurrence.initial(2)
    first = recurrence.step(s, x)
    model.train()
    assert torch.equal(CacheRecurrence(model).step(s, x), first)
    layer = model.model.layers[0].mamba
    with torch.no_grad():
        layer.in_proj.weight.add_(0.1)
    second = recurrence.step(s, x)
    assert not torch.equal(first, second)
    layer.in_proj.weight = nn.Parameter(layer.in_proj.weight.detach() - 0.1)
    close(recurrence.step(s, x), first)


def test_a_bfloat16_model_steps_in_the_dtype_of_the_state():
    model = build("jamba").bfloat16()
    recurrence = CacheRecurrence(model)
    assert recurrence.dtype == torch.bfloat16
    x = embeddings(2, 1)[:, 0]
    wide = recurrence.step(recurrence.initial(2).double(), x.double())
    assert wide.dtype == torch.float64
    single = recurrence.step(recurrence.initial(2).float(), x)
    assert (single - wide).abs().max() < 1e-5 * wide.abs().max()


@pytest.mark.parametrize(
    ("name", "mixer"), [("jamba", "JambaMambaMixer"), ("mamba2", "Mamba2Mixer")]
)
def test_a_step_that_is_cut_off_from_its_gradient_is_refused(name, mixer, monkeypatch):
    modeling = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    cls = getattr(modeling, mixer)
    monkeypatch.setattr(cls, "forward", torch.no_grad()(cls.forward))
    recurrence = CacheRecurrence(build(name))
    x = embeddings(1, 1)[:, 0]
    recurrence.step(recurrence.initial(), x)  # the step itself is all right
    with pytest.raises(JointMapError, match=r"'layers\.0\.\w+'.*no_grad.*step="):
        recurrence.jacobian(recurrence.initial(), x)
    with pytest.raises(JointMapError, match="cut off"):
        recurrence.input_jacobian(recurrence.initial(), x)


REFUSED = {
    "RecurrentGemmaModel": (
        {"num_hidden_layers": 3, "lru_width": 8, **ATTENTION},
        "returned no past_key_values",
    ),
    "RwkvModel": ({"num_hidden_layers": 2}, "does not take a cache"),
    "LlamaModel": ({"num_hidden_layers": 1, **ATTENTION}, "holds no recurrent state"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_without_recurrent_states_in_a_cache_are_refused(name):
    config, why = REFUSED[name]
    made = getattr(transformers, name.replace("Model", "Config"))
    model = getattr(transformers, name)(made(**COMMON, hidden_size=HIDDEN, **config))
    model(torch.tensor([[3, 4]]))  # leaves a state with a graph in a model that keeps it itself
    with pytest.raises(JointMapError, match=rf"{why}.*step="):
        CacheRecurrence(model)


def test_contexts_that_do_not_fit():
    model = build("jamba")
    recurrence = CacheRecurrence(model, decode(model, embeddings(3, 2)))
    s = recurrence.initial(3)
    with pytest.raises(ShapeError, match="holds 3 sequences, but there are 2 states"):
        recurrence.step(s[:2], embeddings(2, 1)[:, 0])
    with pytest.raises(ShapeError, match="input_dim|expects 8"):
        recurrence.step(s, torch.zeros(3, 5))
    with pytest.raises(JointMapError, match="has seen no token"):
        CacheRecurrence(model, transformers.DynamicCache(config=model.config))
    with pytest.raises(JointMapError, match=r"lacks layers\.0\.conv"):
        recurrence.state_of(transformers.DynamicCache(config=model.config))


def test_fixed_points_of_a_model():
    recurrence = CacheRecurrence(build("mamba2"))
    found = dynprobe.find_fixed_points(recurrence, recurrence.initial(1), embeddings(1, 1)[0, 0])
    assert (found.converged | found.slow).all()  # modes of 900 tokens: a seed lands beside it
    fixed = found.unique()
    assert len(fixed) == 1
    assert fixed.isolated.all()
    s = fixed.states
    assert s.abs().max() > 0.1
    assert (recurrence.step(s, fixed.inputs.double()) - s).abs().max() < 1e-12


def test_no_states_at_all_take_a_step():
    recurrence = CacheRecurrence(build("mamba2"))
    none = recurrence.initial(1)[:0]
    assert recurrence.step(none, embeddings(0, 1)[:, 0]).shape == none.shape


class Tagger(nn.Module):
    """A transformers model inside the user's own."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def test_the_model_is_found_inside_the_users_own():
    model = Tagger(encoder=build("mamba"), head=nn.Linear(HIDDEN, 2))
    recurrence = joint_recurrence(model, {}, {})
    assert recurrence.module is model.encoder.backbone


def test_two_models_or_a_recurrence_beside_one_have_no_joint_map():
    both = Tagger(a=build("mamba"), b=build("mamba"))
    with pytest.raises(JointMapError, match=r"no joint map of a, b.*step="):
        joint_recurrence(both, {}, {})
    beside = Tagger(encoder=build("mamba"), cell=nn.GRUCell(HIDDEN, 4), rnn=nn.GRU(HIDDEN, 4))
    with pytest.raises(JointMapError, match="no joint map of .*cell, rnn"):
        dynprobe.attach(beside).recurrence("all")


@pytest.mark.parametrize("name", ["mamba", "qwen3_next"])
def test_the_joint_map_through_a_probe_makes_the_recorded_states(name):
    """Attached: one step of the whole model moves every layer as the recording says it moved."""
    cls, config_cls, config = MODELS[name]
    config = getattr(transformers, config_cls)(**{**COMMON, "hidden_size": 8, **config})
    model = getattr(transformers, cls)(config).eval()
    ids = torch.randint(3, 11, (1, 5))
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(ids)
        joint = probe.recurrence("all")
        embedded = model.get_input_embeddings()(ids)
        if name == "qwen3_next":  # its attention layers would look back on tokens, not held here
            embedded, ids = embedded[:, :1], ids[:, :1]
        states = joint.rollout(joint.initial(1), embedded)
    for index, info in enumerate(probe.layers):
        if name == "qwen3_next" and index:
            continue
        layer = [n for n in joint.layout.names if n.endswith("recurrent")][index]
        rolled = states[..., joint.layout.slice(layer)]
        recorded = probe.recording(info.key).states[:, : ids.shape[1]]
        torch.testing.assert_close(rolled, recorded, rtol=1e-4, atol=1e-6)
