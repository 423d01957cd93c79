"""Every kind of model: one interface, one table, labels of both forms, one penalty."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dynprobe.errors import UnknownNameError
from dynprobe.study.evaluate import evaluate
from dynprobe.study.kinds import KINDS, Kind
from dynprobe.study.method import trained_parameters
from dynprobe.study.models import BUILDERS, build_model
from dynprobe.study.penalty import penalised_parameters
from dynprobe.study.recipes import RECIPES, TEXT_RECIPES
from dynprobe.study.train import train
from dynprobe.study.train_adamw import train_adamw
from dynprobe.study.train_text import train_text
from dynprobe.tasks import categorical, multilabel
from dynprobe.tasks.text import TextTask
from dynprobe.tasks.text_split import TextSplit

TASK = categorical(3, 8, min_length=3)
LABELS = multilabel(2, 8, min_length=3)


def build(kind: str, task: Any = TASK, **options: Any) -> nn.Module:
    return build_model(
        kind,
        len(task.vocabulary),
        task.n_classes,
        hidden_size=8,
        padding_idx=task.padding_idx,
        **options,
    )


def test_every_kind_has_a_builder_and_recipes() -> None:
    assert set(BUILDERS) == set(RECIPES) == set(TEXT_RECIPES) == set(KINDS) == set(Kind)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_depend_on_valid_words_alone_and_weights_on_the_seed(kind: str) -> None:
    before = torch.get_rng_state()
    model, same = build(kind).eval(), build(kind)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, model.state_dict().values(), same.state_dict().values()))
    other = build(kind, seed=1)
    assert not all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))
    batch = TASK.sample(20, seed=0)
    logits = model(batch.tokens, batch.lengths)
    assert logits.shape == (20, 3)
    assert bool((batch.lengths < 8).any())
    changed = batch.tokens.clone()
    changed[torch.arange(8) >= batch.lengths[:, None]] = 2
    torch.testing.assert_close(model(changed, batch.lengths), logits)
    for i, n in enumerate(batch.lengths.tolist()[:3]):
        torch.testing.assert_close(model(batch.tokens[i : i + 1, :n])[0], logits[i])


@pytest.mark.parametrize(
    ("kind", "options", "changed"),
    [
        ("lstm", {"readout_state": "hc"}, {"readout.weight": (3, 16)}),
        ("linear_transformer", {"layers": 1}, {"transformer.model.layers.1.mlp_norm.bias": None}),
        ("linear_transformer", {"decay": "retnet"}, {}),
        ("linear_transformer", {"decay": 0.5}, {}),
        ("linear_transformer", {"position_embedding": "sinusoidal"}, {}),
        ("mamba", {"layers": 2}, {"layers.1.mixer.D": (16,)}),
        ("mamba", {"state_size": 3}, {"layers.0.mixer.A_log": (16, 3)}),
    ],
)
def test_options_are_those_of_the_kind(
    kind: str, options: dict[str, Any], changed: dict[str, Any]
) -> None:
    batch = TASK.sample(20, seed=0)
    plain, model = build(kind).eval(), build(kind, **options).eval()
    assert not torch.equal(model(batch.tokens, batch.lengths), plain(batch.tokens, batch.lengths))
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for name, shape in changed.items():
        assert shapes.get(name) == shape
    with pytest.raises(UnknownNameError, match="kind 'gru' has no option"):
        build("gru", **options)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'mamba'"):
        build("mamb")


@pytest.mark.parametrize("kind", KINDS)
def test_several_labels_are_learned(kind: str) -> None:
    model = build(kind, LABELS)
    test = LABELS.sample(300, seed=1)
    before = evaluate(model, [test])
    train_adamw(model, LABELS, steps=150, batch_size=32, learning_rate=1e-2, warm_up=10)
    assert evaluate(model, [test]) > max(0.5, before + 0.1)


def test_texts_with_several_labels_are_learned() -> None:
    parts = {}
    for seed, (name, n) in enumerate((("train", 300), ("validation", 100), ("test", 100))):
        batch = LABELS.sample(n, seed=seed)
        texts = [" ".join(map(str, s.tolist())) for s in batch.sequences()]
        parts[name] = TextSplit(texts, batch.labels, batch.sequences(), [], [])
    task = TextTask("signs", LABELS.vocabulary, LABELS.class_names, 8, parts)
    model = build("mamba", LABELS)
    log = train_text(model, task, epochs=6, batch_size=16, learning_rate=1e-2, l2=0)
    assert log.losses[0] == pytest.approx(0.693, abs=0.2)
    assert max(log.validation_accuracy) > 0.7


def names(model: nn.Module, which: str) -> set[str]:
    chosen = penalised_parameters(model, which)
    known = [n for n, p in model.named_parameters() if p.requires_grad]
    return {n for n, c in zip(known, chosen, strict=True) if c}


@pytest.mark.parametrize(
    ("kind", "left_out"),
    [
        ("gru", {"emb.weight", "rnn.bias_ih_l0", "rnn.bias_hh_l0"}),
        ("ugrnn", {"emb.weight", "rnn.cell.bias"}),
        (
            "mamba",
            {
                "embeddings.weight",
                "layers.0.norm.weight",
                "layers.0.mixer.conv1d.bias",
                "layers.0.mixer.dt_proj.bias",
                "norm_f.weight",
            },
        ),
    ],
)
def test_what_is_penalised_can_be_chosen(kind: str, left_out: set[str]) -> None:
    model = build(kind, embedding_size=4)
    everything = {name for name, _ in model.named_parameters()}
    assert names(model, "all") == everything
    assert everything - names(model, "weights") == left_out


def test_norms_of_a_transformer_are_not_weights() -> None:
    left_out = {n for n, _ in build("linear_transformer").named_parameters()}
    left_out -= names(build("linear_transformer"), "weights")
    assert left_out == {n for n in left_out if "norm" in n or "embed" in n or n.endswith("bias")}
    assert "transformer.model.norm.weight" in left_out
    assert "transformer.model.embed_tokens.weight" in left_out


def test_other_choices_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="'weight' to penalise. Did you mean 'weights'"):
        train(build("gru"), TASK, steps=1, penalised="weight")
    with pytest.raises(ValueError, match="leaves no parameter"):
        penalised_parameters(nn.LayerNorm(3), "weights")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", ["all", "weights"])
@pytest.mark.parametrize("recipe", [train, train_adamw])
def test_the_penalty_is_l2_times_the_squares_of_what_was_chosen(
    kind: str, which: str, recipe: Any
) -> None:
    model = build(kind)
    chosen = names(model, which)
    squares = sum(
        float(p.detach().square().sum()) for n, p in model.named_parameters() if n in chosen
    )
    free, penalised = (
        recipe(build(kind), TASK, steps=1, batch_size=8, l2=l2, penalised=which).losses[0]
        for l2 in (0.0, 0.01)
    )
    assert squares > 0.1
    assert penalised - free == pytest.approx(0.01 * squares, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_replaces_rate_and_l2_of_every_recipe(kind: str) -> None:
    shrunk = []
    for l2 in (0.0, 1.0):
        model = build(kind)
        recipe = replace(RECIPES[kind], rate=1e-2, l2=l2, batch_size=8, penalised="weights")
        log = recipe.train(model, TASK, steps=20, seed=0)
        parameters = zip(
            trained_parameters(model), penalised_parameters(model, "weights"), strict=True
        )
        shrunk.append(sum(float(p.detach().square().sum()) for p, c in parameters if c))
    assert shrunk[1] < shrunk[0]
    assert "L2 1 on all but norms, biases, embeddings" in recipe.describe(log)
