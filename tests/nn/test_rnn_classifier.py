"""The recurrent classifier."""

from math import sqrt
from typing import Any

import pytest
import torch
from torch import nn

import dynprobe
from dynprobe.nn import RNNClassifier

VARIANTS: list[dict[str, Any]] = [
    {"cell": "gru"},
    {"cell": "rnn"},
    {"cell": "ugrnn"},
    {"cell": "gru_reset_first"},
    {"cell": "lstm"},
    {"cell": "lstm", "readout_state": "hc"},
    {"cell": "gru", "embedding_size": 6},
    {"cell": "lstm", "readout_state": "hc", "embedding_size": 6, "readout_bias": True},
]


def build(**arguments: Any) -> RNNClassifier:
    generator = torch.Generator().manual_seed(arguments.pop("seed", 0))
    arguments = {"hidden_size": 8, "padding_idx": 0, "generator": generator} | arguments
    return RNNClassifier(7, 3, **arguments)


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(1, 7, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_does_not_change_the_logits(variant: dict[str, Any]) -> None:
    model = build(**variant)
    ids, lengths = tokens(4, 9), torch.tensor([9, 1, 4, 8])
    logits = model(ids, lengths)
    assert logits.shape == (4, 3)
    for row in range(4):
        alone = model(ids[row : row + 1, : lengths[row]])
        torch.testing.assert_close(logits[row : row + 1], alone)
    other = ids.masked_fill(torch.arange(9) >= lengths[:, None], 0)
    torch.testing.assert_close(model(other, lengths), logits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_read_the_last_valid_word_and_no_other_state(variant: dict[str, Any]) -> None:
    model = build(**variant)
    ids, lengths = tokens(1, 6), torch.tensor([4])
    shorter = model(ids, lengths - 1)
    assert not torch.allclose(model(ids, lengths), shorter, atol=1e-4)
    assert not torch.allclose(model(ids, None), shorter, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_full_lengths_are_the_same_as_none(variant: dict[str, Any]) -> None:
    model = build(**variant)
    ids = tokens(3, 5)
    assert torch.equal(model(ids), model(ids, torch.full((3,), 5)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_gradient(variant: dict[str, Any]) -> None:
    model = build(**variant)
    model(tokens(4, 5), torch.tensor([5, 3, 2, 5])).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_initial_state_starts_at_zero_and_is_used(variant: dict[str, Any]) -> None:
    model = build(**variant)
    states = [model.h0] if model.c0 is None else [model.h0, model.c0]
    for state in states:
        assert state.shape == (1, 1, 8)
        assert not state.any()
        before = model(tokens(2, 3))
        with torch.no_grad():
            state.fill_(0.5)
        assert not torch.allclose(model(tokens(2, 3)), before, atol=1e-4)


def test_logits_are_the_readout_of_the_state_of_a_plain_gru() -> None:
    model = build(padding_idx=None)
    ids = tokens(3, 5)
    states, _ = model.rnn(nn.functional.one_hot(ids, 7).float(), torch.zeros(1, 3, 8))
    assert torch.equal(model(ids), states[:, -1] @ model.readout.weight.T)


def test_an_lstm_that_reads_both_states_reads_h_then_c() -> None:
    model = build(cell="lstm", readout_state="hc", padding_idx=None)
    ids = tokens(3, 5)
    zero = torch.zeros(1, 3, 8)
    _, (h, c) = model.rnn(nn.functional.one_hot(ids, 7).float(), (zero, zero))
    expected = torch.cat([h[0], c[0]], dim=1) @ model.readout.weight.T
    torch.testing.assert_close(model(ids), expected)


def test_a_probe_sees_an_update_gate_network_and_its_readout() -> None:
    model = build(cell="ugrnn")
    with dynprobe.attach(model) as probe:
        logits = model(tokens(3, 5))
    rec = probe.recording()
    assert rec.states.shape == (3, 5, 8)
    torch.testing.assert_close(rec.final @ model.readout.weight.T, logits)
    assert torch.equal(rec.logits, logits)
    assert probe.readout().name == "readout"


@pytest.mark.parametrize("embedding_size", [None, 6])
def test_the_padding_word_is_the_zero_vector(embedding_size: int | None) -> None:
    model = build(embedding_size=embedding_size)
    seen: list[torch.Tensor] = []
    model.rnn.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    model(torch.tensor([[3, 0]]))
    assert seen[0][0, 0].any()
    assert not seen[0][0, 1].any()


def test_without_a_padding_word_id_zero_is_a_word() -> None:
    model = build(padding_idx=None)
    assert not torch.allclose(model(torch.tensor([[0]])), model(torch.tensor([[1]])))


@pytest.mark.parametrize(
    ("cell", "gates"), [("gru", 3), ("lstm", 4), ("rnn", 1), ("ugrnn", 2), ("gru_reset_first", 3)]
)
def test_reference_initialisation(cell: str, gates: int) -> None:
    model = RNNClassifier(
        50, 40, cell=cell, hidden_size=200, readout_bias=True,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    weights = dict(model.rnn.named_parameters())
    for kind, variance in (("weight_ih", 1 / 50), ("weight_hh", 1 / 200)):
        weight = next(w for name, w in weights.items() if kind in name).detach()
        assert weight.shape[0] == gates * 200
        assert float(weight.var()) == pytest.approx(variance, rel=0.1)
        # A normal distribution has kurtosis 3, a uniform one 1.8.
        kurtosis = float((weight / weight.std()).pow(4).mean())
        assert kurtosis == pytest.approx(3, abs=0.2)
    assert float(model.readout.weight.detach().var()) == pytest.approx(2 / 240, rel=0.1)
    bias = torch.stack([w for name, w in weights.items() if "bias" in name]).sum(0)
    expected = torch.zeros(gates * 200)
    if cell == "lstm":
        expected[200:400] = 1
    assert torch.equal(bias, expected)
    assert not model.readout.bias.any()


def test_reference_embedding_is_small_and_its_padding_zero() -> None:
    embedding = build(embedding_size=200).emb
    assert embedding is not None
    assert float(embedding.weight[1:].detach().std()) == pytest.approx(0.1, rel=0.1)
    assert not embedding.weight[0].any()


def test_torch_initialisation_has_the_distribution_of_torch_layers() -> None:
    model = build(initialisation="torch", hidden_size=100, embedding_size=90)
    theirs = nn.GRU(90, 100)
    for name, weight in model.rnn.named_parameters():
        theirs_std = float(dict(theirs.named_parameters())[name].detach().std())
        assert float(weight.detach().std()) == pytest.approx(theirs_std, rel=0.15)
        assert weight.abs().max() <= 0.1
    assert float(model.readout.weight.detach().std()) == pytest.approx(0.1 / sqrt(3), rel=0.2)
    assert model.emb is not None
    assert float(model.emb.weight[1:].detach().std()) == pytest.approx(1, rel=0.1)
    assert not model.emb.weight[0].any()


@pytest.mark.parametrize("initialisation", ["reference", "torch"])
def test_weights_come_from_the_generator_alone(initialisation: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (
        build(seed=s, embedding_size=4, initialisation=initialisation) for s in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.readout.weight, other.readout.weight)
    default = build(embedding_size=4, initialisation=initialisation, generator=None)
    assert torch.equal(default.readout.weight, first.readout.weight)


def test_dropout_acts_on_embeddings_in_training_only() -> None:
    model = build(embedding_size=50, dropout=0.5)
    ids = tokens(2, 4)
    model.eval()
    assert torch.equal(model(ids), model(ids))
    model.train()
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "elman"}, "no cell 'elman'. Pass one of gru, gru_reset_first, lstm, rnn, ugrnn"),
        ({"initialisation": "zero"}, "no initialisation 'zero'. Pass one of reference, torch"),
        ({"readout_state": "c"}, "readout_state is 'c'"),
        ({"readout_state": "hc"}, "a gru does not have.*cell='lstm'"),
        ({"dropout": 0.1}, "no embedding to drop from"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"embedding_size": 0}, "embedding_size is 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)
