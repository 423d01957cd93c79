"""What a probe sees of a linear transformer, against its own decoding."""

from __future__ import annotations

import pytest
import torch
from linear_transformers import VARIANTS, config, language_model, some_ids

import dynprobe
from dynprobe.nn import LinearTransformer, LinearTransformerForSequenceClassification
from dynprobe.recurrences.base import Recurrence

variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
KEYS = ["model.layers.0.attention", "model.layers.1.attention"]


def decoded(model, ids):
    """States after every token of a layer, read from the cache: {key: (batch, time, state)}."""
    cache, states = None, {key: [] for key in KEYS}
    with torch.no_grad():
        for token in ids.split(1, dim=1):
            cache = model(token, past_key_values=cache).past_key_values
            for key, layer in zip(KEYS, cache.layers, strict=True):
                parts = [layer.recurrent_states[0]]
                if model.config.normalize:
                    parts.append(layer.recurrent_states[1])
                states[key].append(torch.cat([p.flatten(1) for p in parts], dim=1))
    return {key: torch.stack(s, dim=1) for key, s in states.items()}


def recorded(model, *args, **kwargs):
    with torch.no_grad(), dynprobe.attach(model) as probe:
        out = model(*args, **kwargs)
    return probe, out


@variants
def test_states_are_those_of_decoding(changes):
    model = language_model(torch.float32, **changes)
    ids = some_ids(2, 19)
    with torch.no_grad():
        plain = model(ids).logits
    probe, out = recorded(model, ids)
    assert torch.equal(out.logits, plain)
    assert [info.key for info in probe.layers] == KEYS
    for key, expected in decoded(model, ids).items():
        rec = probe.recording(key)
        assert (rec.states - expected).norm() / expected.norm() <= 1e-5
        assert torch.equal(rec.tokens, ids)
        c = model.config
        s = rec.part("S")
        assert s.shape == (2, 19, 4, c.feature_dim, 8)
        if c.normalize:
            z = rec.part("Z")
            assert z.shape == (2, 19, 4, c.feature_dim)
            torch.testing.assert_close(
                z[:, 0], rec.inputs[:, 0, : z[0, 0].numel()].unflatten(-1, (4, -1))
            )


@variants
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_texts(side, changes):
    model = language_model(torch.float32, **changes)
    ids = some_ids(2, 15)
    mask = torch.ones_like(ids)
    mask[1, slice(0, 6) if side == "left" else slice(9, 15)] = 0
    probe, _ = recorded(model, ids, attention_mask=mask, use_cache=changes.get("decay") is None)
    expected = decoded(model, ids[1:][mask[1:].bool()][None])
    for key in KEYS:
        rec = probe.recording(key)
        assert rec.lengths.tolist() == [15, 9]
        error = (rec.states[1, :9] - expected[key][0]).norm() / expected[key].norm()
        assert error <= 1e-5


@variants
def test_the_map(changes):
    model = language_model(torch.float32, **changes)
    probe, _ = recorded(model, some_ids(2, 9))
    rec, map_ = probe.recording(KEYS[1]), probe.recurrence(KEYS[1])
    before, x = rec.before[:, 5].double(), rec.inputs[:, 5].double()
    stepped = map_.step(before, x)
    torch.testing.assert_close(stepped.float(), rec.states[:, 5], rtol=1e-5, atol=1e-5)
    affine = map_.affine(x)
    torch.testing.assert_close(affine.apply(before), stepped)
    torch.testing.assert_close(map_.jacobian(before, x), Recurrence.jacobian(map_, before, x))
    rates = torch.tensor(model.config.rates or [1.0] * 4).double()
    state = {name: torch.ones(shape) for name, shape in map_.layout.parts}
    expected = map_.layout.join(
        {name: (s * rates.view(-1, *[1] * (s.dim() - 1)))[None] for name, s in state.items()}
    )
    torch.testing.assert_close(
        affine.eigenvalues(), expected.expand(2, -1).double(), rtol=1e-6, atol=0
    )


def test_without_a_decay_nothing_is_at_rest():
    """A = I: a token that is seen for ever adds for ever."""
    model = language_model(torch.float32)
    probe, _ = recorded(model, some_ids(4, 12))
    rec, map_ = probe.recording(KEYS[0]), probe.recurrence(KEYS[0])
    x = rec.inputs[0, 3]
    assert bool(map_.affine(x[None]).fixed_point().isnan().all())
    fp = dynprobe.find_fixed_points(map_, rec.sample(6), inputs=x)
    assert not fp.converged.any()
    torch.testing.assert_close(map_.step(rec.states[:, 3], rec.inputs[:, 4]), rec.states[:, 4])


def test_with_a_decay_a_token_has_its_fixed_point():
    model = language_model(torch.float32, decay=[0.5, 0.8, 0.9, 0.95])
    probe, _ = recorded(model, some_ids(2, 12))
    rec, map_ = probe.recording(KEYS[0]), probe.recurrence(KEYS[0])
    x = rec.inputs[0, 3].double()
    parts = map_.form.inputs.split(x)
    kept = 1 - torch.tensor(model.config.rates).double()
    s = parts["k"][:, :, None] * parts["u"][:, None, :] / kept[:, None, None]
    z = parts["k"] / kept[:, None]
    expected = torch.cat([s.flatten(), z.flatten()])
    torch.testing.assert_close(
        map_.affine(x[None]).fixed_point()[0], expected, rtol=1e-6, atol=1e-9
    )
    fp = dynprobe.find_fixed_points(map_, rec.sample(3), inputs=x.float()).unique()
    assert len(fp.states) == 1
    torch.testing.assert_close(fp.states[0].double(), expected, rtol=1e-4, atol=1e-5)


@variants
@pytest.mark.parametrize("side", [None, "left", "right"])
def test_generate_is_one_sequence(changes, side):
    model = language_model(torch.float32, **changes)
    ids = some_ids(1, 7)
    mask = torch.ones_like(ids)
    if side is not None:
        mask[0, slice(0, 2) if side == "left" else slice(5, 7)] = 0
    with torch.no_grad(), dynprobe.attach(model) as probe:
        text = model.generate(
            ids, attention_mask=mask, max_new_tokens=5, min_new_tokens=5, do_sample=False
        )
    whole = torch.cat([ids[mask.bool()][None], text[:, 7:-1]], dim=1)
    for key, expected in decoded(model, whole).items():
        states = probe.recording(key).states[:, -whole.shape[1] :]
        assert states.shape == expected.shape
        assert (states - expected).norm() / expected.norm() <= 1e-5


def test_padding_at_the_end_of_a_decaying_call_is_warned_about():
    model = language_model(torch.float32, decay=0.9)
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[0, 4:] = 0
    with pytest.warns(dynprobe.errors.RecordingWarning, match="pad on the left"):
        recorded(model, some_ids(2, 6), attention_mask=mask)


def test_factors_and_their_principal_components():
    model = language_model(torch.float32)
    ids = some_ids(3, 40)
    with torch.no_grad(), dynprobe.attach(model, store="factors") as probe:
        model(ids)
    rec = probe.recording(KEYS[1])
    with pytest.raises(dynprobe.errors.LargeStatesError):
        rec.states  # noqa: B018
    states = decoded(model, ids)[KEYS[1]]
    torch.testing.assert_close(
        rec.part("S", every=10).flatten(2), states[:, 9::10, : 4 * 64], rtol=1e-4, atol=1e-4
    )
    flat = states.flatten(0, 1).double()
    variance = torch.linalg.eigvalsh((flat - flat.mean(0)).T.cov()).flip(0)
    ratio = rec.pca(3).variance.double() / variance[:3]
    assert (ratio / ratio[0] - 1).abs().max() <= 1e-4
    assert ratio[0] == pytest.approx(1, rel=1 / len(flat) + 1e-4)


def test_the_whole_model_as_one_map():
    model = language_model(torch.float32, position_embedding="none")
    ids = some_ids(2, 6)
    probe, _ = recorded(model, ids)
    joint = probe.recurrence("all")
    state = joint.initial(2).double()
    x = model.get_input_embeddings()(ids).double()
    for t in range(6):
        state = joint.step(state, x[:, t])
    expected = decoded(model, ids)
    for i, key in enumerate(KEYS):
        got = joint.layout.split(state)[f"layers.{i}.recurrent.0"].flatten(1)
        torch.testing.assert_close(
            got.float(), expected[key][:, -1, : 4 * 64], rtol=1e-4, atol=1e-4
        )


def test_other_models_of_the_family():
    ids = some_ids(2, 8)
    classifier = LinearTransformerForSequenceClassification(config(num_labels=3)).eval()
    probe, _ = recorded(classifier, ids)
    assert probe.recording(KEYS[0]).states.shape == (2, 8, 288)
    base = LinearTransformer(config()).eval()
    probe, _ = recorded(base, ids)
    assert [info.key for info in probe.layers] == ["layers.0.attention", "layers.1.attention"]
    with pytest.raises(dynprobe.errors.NoRecurrenceError):
        dynprobe.attach(LinearTransformer(config(causal=False)))


def test_half_precision_is_recorded_as_the_kernel_saw_it():
    model = language_model(torch.bfloat16)
    ids = some_ids(2, 9)
    probe, out = recorded(model, ids)
    for key, layer in zip(KEYS, out.past_key_values.layers, strict=True):
        s, z = layer.recurrent_states.values()
        final = torch.cat([s.flatten(1), z.flatten(1)], dim=1)
        torch.testing.assert_close(probe.recording(key).final, final, rtol=1e-5, atol=1e-5)
