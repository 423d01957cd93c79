"""The linear transformer: one function in all its forms, whatever the padding."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import transformers
from linear_transformers import VARIANTS, config, language_model, some_ids, weights
from torch import nn

import dynprobe
from dynprobe.nn import (
    LinearTransformer,
    LinearTransformerCache,
    LinearTransformerConfig,
    LinearTransformerForCausalLM,
    LinearTransformerForSequenceClassification,
    LinearTransformerModel,
)
from dynprobe.nn.linear_transformer.positions import rotate, sinusoidal

variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


def close(a, b, tolerance=1e-11):
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * (1 + b.abs().max())


def by_definition(mixer, x, positions, *, causal=True):
    """What a mixer computes, by the matrix of all weights."""
    c = mixer.config
    projections = (mixer.q_proj, mixer.k_proj, mixer.v_proj)
    q, k, v = (p(x).unflatten(-1, (-1, c.head_dim)).transpose(1, 2) for p in projections)
    maps = {
        "elu": lambda x: nn.functional.elu(x) + 1,
        "relu": torch.relu,
        "squared_relu": lambda x: torch.relu(x) ** 2,
        "favor": mixer.favor,
    }
    q, k = maps[c.feature_map](q), maps[c.feature_map](k)
    if c.position_embedding == "rotary":
        q, k = (rotate(x, positions, c.rotary_base) for x in (q, k))
    rates = torch.tensor([1.0] * c.num_attention_heads if c.rates is None else c.rates)
    w = weights(q, k, rates.double(), causal=causal)
    out = w @ v
    if c.normalize:
        out = out / (w.sum(-1, keepdim=True) + c.attention_eps)
    else:
        out = out / (out.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return mixer.o_proj(out.transpose(1, 2).flatten(2))


@variants
def test_the_mixer_is_what_it_is_by_definition(changes):
    mixer = language_model(**changes).model.layers[1].attention
    x, positions = torch.randn(2, 37, 32).double(), torch.arange(37)[None]
    close(
        mixer(x, None, positions), by_definition(mixer, x, positions), 1e-6 if mixer.favor else 1e-7
    )


@variants
def test_parallel_chunked_and_recurrent_forms_are_one_function(changes):
    model = language_model(**changes)
    ids = some_ids(2, 61)
    with torch.no_grad():
        chunked = model(ids)
        model.config.backend = "reference"
        parallel = model(ids)
        model.config.backend = "auto"
        close(chunked.logits, parallel.logits)
        for size in (1, 7):
            cache, out = None, []
            for some in ids.split(size, dim=1):
                step = model(some, past_key_values=cache)
                cache = step.past_key_values
                out.append(step.logits)
            close(torch.cat(out, dim=1), chunked.logits)
            for a, b in zip(cache.layers, chunked.past_key_values.layers, strict=True):
                close(a.recurrent_states[0], b.recurrent_states[0])
                close(a.recurrent_states[1], b.recurrent_states[1])
    assert cache.get_seq_length() == 61
    assert cache.seen.tolist() == [61, 61]


def test_the_future_has_no_influence():
    model = language_model()
    ids = some_ids(1, 20)
    other = ids.clone()
    other[:, 12:] = some_ids(1, 8)
    with torch.no_grad():
        a, b = model(ids).logits, model(other).logits
    assert torch.equal(a[:, :8], b[:, :8])  # the chunk before
    close(a[:, :12], b[:, :12])
    assert (a[:, 12:] - b[:, 12:]).abs().max() > 1e-3


def padded(rows, side):
    """Ids and mask of texts of several lengths; the padding is not the padding token."""
    longest = max(map(len, rows))
    ids, mask = some_ids(len(rows), longest), torch.zeros(len(rows), longest, dtype=torch.int64)
    for i, row in enumerate(rows):
        at = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[i, at], mask[i, at] = row, 1
    return ids, mask


@variants
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_takes_no_part_on_either_side(changes, side):
    model = language_model(**changes)
    rows = [some_ids(1, n)[0] for n in (13, 21, 1)]
    ids, mask = padded(rows, side)
    more = some_ids(3, 4)
    longer = torch.cat([mask, torch.ones(3, 4, dtype=torch.int64)], dim=1)
    with torch.no_grad():
        out = model(ids, attention_mask=mask)
        after = model(more, attention_mask=longer, past_key_values=out.past_key_values)
        for i, row in enumerate(rows):
            alone = model(row[None])
            close(out.logits[i][mask[i].bool()], alone.logits[0])
            close(
                after.logits[i],
                model(more[i : i + 1], past_key_values=alone.past_key_values).logits[0],
            )


@variants
def test_padding_within_a_continued_text(changes):
    """Padding between two pieces of a text, and single padded tokens."""
    model = language_model(**changes)
    whole = some_ids(1, 12)
    gap = torch.tensor([[1] * 5 + [0] * 3 + [1] * 7])
    ids = some_ids(1, 15)
    ids[gap.bool()] = whole[0]
    with torch.no_grad():
        expected = model(whole)
        for cuts in ([4, 11], [15], [1] * 15):
            cache, out = None, []
            for start, some in zip(
                torch.tensor([0, *cuts]).cumsum(0), ids.split(cuts, 1), strict=False
            ):
                step = model(
                    some, attention_mask=gap[:, : start + some.shape[1]], past_key_values=cache
                )
                cache = step.past_key_values
                out.append(step.logits)
            close(torch.cat(out, dim=1)[gap.bool()], expected.logits[0])
            assert cache.seen.tolist() == [12]


def test_nan_in_padding_stays_there():
    model = language_model()
    x = torch.randn(2, 9, 32).double()
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[0, 6:] = 0
    clean = model(inputs_embeds=x, attention_mask=mask).logits
    x[0, 6:] = torch.nan
    spoilt = model(inputs_embeds=x, attention_mask=mask).logits
    assert torch.equal(clean[mask.bool()], spoilt[mask.bool()])


@pytest.mark.parametrize("position_embedding", ["none", "sinusoidal", "learned", "rotary"])
def test_an_encoder_sees_both_sides(position_embedding):
    torch.manual_seed(1)
    changes = {
        "position_embedding": position_embedding,
        "normalize": position_embedding != "rotary",
    }
    encoder = LinearTransformer(config(causal=False, **changes)).double().eval()
    ids = some_ids(2, 17)
    with torch.no_grad():
        out = encoder(ids)
        assert out.past_key_values is None
        mixer, x = encoder.layers[0].attention, torch.randn(2, 17, 32).double()
        positions = torch.arange(17)[None]
        close(mixer(x, None, positions), by_definition(mixer, x, positions, causal=False), 1e-7)
        for side in ("left", "right"):
            rows = [ids[0, :9], ids[1]]
            some, mask = padded(rows, side)
            got = encoder(some, attention_mask=mask).last_hidden_state
            close(got[0][mask[0].bool()], encoder(rows[0][None]).last_hidden_state[0])
        order = torch.randperm(17)
        turned = encoder(ids[:, order]).last_hidden_state
        moved = (turned - out.last_hidden_state[:, order]).abs().max()
    assert (moved <= 1e-11) == (position_embedding == "none")


def test_positions():
    at = torch.tensor([[0, 3, 1000]])
    x = sinusoidal(at, 6)
    assert torch.equal(x[0, 0], torch.tensor([0.0, 1, 0, 1, 0, 1]))
    torch.testing.assert_close(x[0, 2, 0], torch.tensor(1000.0).sin())
    torch.testing.assert_close(x[0, 1, 2], torch.tensor(3 * 10_000 ** (-1 / 3)).sin())
    assert sinusoidal(at, 5).shape == (1, 3, 5)
    q, k = torch.randn(2, 1, 1, 1, 8).double()

    def product(i, j):
        return float(
            (rotate(q, torch.tensor([[i]]), 100.0) * rotate(k, torch.tensor([[j]]), 100.0)).sum()
        )

    assert product(7, 3) == pytest.approx(product(104, 100), rel=1e-4)
    assert product(7, 3) != pytest.approx(product(8, 3), rel=1e-2)


@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_classification_of_padded_texts(pooling, side):
    torch.manual_seed(1)
    c = config(num_labels=3, classifier_pooling=pooling, causal=pooling == "last")
    model = LinearTransformerForSequenceClassification(c).double().eval()
    rows = [some_ids(1, n)[0] for n in (5, 11)]
    ids, mask = padded(rows, side)
    labels = torch.tensor([2, 0])
    with torch.no_grad():
        out = model(ids, attention_mask=mask, labels=labels)
        alone = torch.cat([model(row[None]).logits for row in rows])
        by_token = model(ids.masked_fill(mask == 0, 0)).logits
    close(out.logits, alone)
    close(by_token, alone)
    close(out.loss, nn.functional.cross_entropy(alone, labels))


def test_outputs_as_transformers_gives_them():
    model = language_model()
    ids = some_ids(2, 6)
    out = model(ids, labels=ids, output_hidden_states=True)
    assert len(out.hidden_states) == 3
    shifted = nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(out.loss.double(), shifted, rtol=1e-5, atol=1e-6)
    as_tuple = model(ids, return_dict=False, use_cache=False)
    assert len(as_tuple) == 1
    assert torch.equal(as_tuple[0], out.logits)
    assert torch.equal(model(ids, logits_to_keep=2).logits, out.logits[:, -2:])
    assert torch.equal(model(inputs_embeds=model.model.embed_tokens(ids)).logits, out.logits)
    assert model.train()(ids).past_key_values is None
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    tied = LinearTransformerForCausalLM(config())
    assert tied.lm_head.weight is tied.model.embed_tokens.weight


@pytest.mark.parametrize("changes", [{}, VARIANTS["favor"], VARIANTS["retnet"]], ids=str)
@pytest.mark.parametrize(
    ("cls", "auto"),
    [
        (LinearTransformerModel, transformers.AutoModel),
        (LinearTransformerForCausalLM, transformers.AutoModelForCausalLM),
        (
            LinearTransformerForSequenceClassification,
            transformers.AutoModelForSequenceClassification,
        ),
    ],
)
def test_saved_and_loaded(cls, auto, changes, tmp_path):
    model = cls(config(feature_seed=5, num_labels=4, **changes)).eval()
    model.save_pretrained(tmp_path)
    ids = some_ids(2, 9)
    expected = model(ids, return_dict=False)[0]
    for loaded in (cls.from_pretrained(tmp_path), auto.from_pretrained(tmp_path)):
        assert type(loaded) is cls
        assert loaded.config.to_dict() == model.config.to_dict() | {
            k: v
            for k, v in loaded.config.to_dict().items()
            if k in ("_name_or_path", "architectures")
        }
        assert torch.equal(loaded.eval()(ids, return_dict=False)[0], expected)
    half = auto.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    base = LinearTransformerModel.from_pretrained(tmp_path)
    assert torch.equal(base.embed_tokens.weight, model.get_input_embeddings().weight)


def test_the_auto_classes_know_it_once_it_is_asked_for():
    code = (
        "import sys, dynprobe.nn\n"
        "assert 'transformers' not in sys.modules\n"
        "sizes = dict(vocab_size=9, hidden_size=8, num_attention_heads=2)\n"
        "config = dynprobe.nn.LinearTransformerConfig(**sizes)\n"
        "import transformers\n"
        "assert type(transformers.AutoModel.from_config(config)) is dynprobe.nn.LinearTransformer\n"
        "assert transformers.AutoConfig.for_model('linear_transformer').hidden_size == 256\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"position_embedding": "rotary"}, dynprobe.errors.FeatureMapError, "normalize=False"),
        (
            {"position_embedding": "rotary", "normalize": False, "head_dim": 5},
            ValueError,
            "make it even",
        ),
        ({"position_embedding": "rotery"}, dynprobe.errors.UnknownNameError, "'rotary'"),
        ({"feature_map": "elo"}, dynprobe.errors.UnknownNameError, "'elu'"),
        ({"decay": "retnat"}, dynprobe.errors.UnknownNameError, "'retnet'"),
        ({"decay": [0.5]}, ValueError, "one for each of the 4 heads"),
        ({"decay": 1.5}, ValueError, "in \\(0, 1\\]"),
        ({"decay": 0.9, "causal": False}, ValueError, "without causality"),
        ({"hidden_size": 30}, ValueError, "pass head_dim"),
        ({"classifier_pooling": "first"}, dynprobe.errors.UnknownNameError, "last"),
    ],
)
def test_configurations_that_cannot_be(changes, error, message):
    with pytest.raises(error, match=message):
        config(**changes)


def test_a_configuration_says_what_it_decays_by():
    c = LinearTransformerConfig(num_attention_heads=2, decay="retnet")
    assert c.rates == [1 - 1 / 32, 1 - 1 / 64]
    assert LinearTransformerConfig(num_attention_heads=2, decay=0.5).rates == [0.5, 0.5]
    assert c.feature_dim == 128
    assert LinearTransformerConfig(feature_map="favor").feature_dim == 64


def test_calls_that_cannot_be():
    model = language_model(position_embedding="learned", max_position_embeddings=10)
    ids = some_ids(2, 6)
    errors = dynprobe.errors
    with pytest.raises(errors.ShapeError, match="either input_ids or inputs_embeds"):
        model()
    with pytest.raises(errors.ShapeError, match="query-key pairs"):
        model(ids, attention_mask=torch.ones(2, 1, 6, 6))
    with pytest.raises(errors.CacheError, match="LinearTransformerCache"):
        model(ids, past_key_values=transformers.DynamicCache())
    with pytest.raises(errors.ShapeError, match="position 11, but positions are learned up to 9"):
        model(ids, past_key_values=model(ids).past_key_values)
    with pytest.raises(ValueError, match="must be causal"):
        LinearTransformerForCausalLM(config(causal=False))
    with pytest.raises(NotImplementedError, match="none can be taken out"):
        LinearTransformerCache(2).crop(-1)
