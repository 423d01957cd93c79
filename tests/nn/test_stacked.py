"""Stacked classifiers against the networks they were made of."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dynprobe
from dynprobe.nn import RNNClassifier
from dynprobe.nn.stacked import Stack

VARIANTS: list[dict[str, Any]] = [
    {"cell": "gru"},
    {"cell": "rnn"},
    {"cell": "ugrnn"},
    {"cell": "gru_reset_first"},
    {"cell": "lstm"},
    {"cell": "lstm", "readout_state": "hc", "readout_bias": True},
]
IDS = ["gru", "rnn", "ugrnn", "gru-reset-first", "lstm", "lstm-hc"]
WORDS = 7


def network(seed: int, **arguments: Any) -> RNNClassifier:
    """A network whose every parameter, biases and initial states too, is away from zero."""
    generator = torch.Generator().manual_seed(seed)
    arguments = {"hidden_size": 8, "padding_idx": 0} | arguments
    words = arguments.pop("words", WORDS)
    model = RNNClassifier(words, 3, generator=generator, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += noise / (2 * parameter.shape[-1] ** 0.5)
    return model


def sequences(models: int, batch: int, steps: int, words: int = WORDS) -> torch.Tensor:
    return torch.randint(
        words, (models, batch, steps), generator=torch.Generator().manual_seed(steps)
    )


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    # nothing to differ from: the input weights of a batch of padding alone
    return float((a - b).norm() / (b.norm() if b.any() else 1.0))


def check(
    networks: list[RNNClassifier], tokens: torch.Tensor, lengths: torch.Tensor | None, tol: float
) -> None:
    """Logits and gradients of every parameter, of the stack and of each network by itself."""
    stack = Stack.of(networks)
    weights = torch.randn(
        len(networks), tokens.shape[1], 3, generator=torch.Generator().manual_seed(5)
    ).to(networks[0].h0.dtype)
    logits = stack(tokens, lengths)
    (logits * weights).sum().backward()
    for i, model in enumerate(networks):
        alone = model(tokens[i], None if lengths is None else lengths[i])
        assert distance(logits[i].detach(), alone.detach()) <= tol
        (alone * weights[i]).sum().backward()
        for name, parameter in model.named_parameters():
            found = stack.get_parameter(name.replace(".", "_")).grad
            assert found is not None
            assert parameter.grad is not None
            assert distance(found[i], parameter.grad) <= tol, name
        model.zero_grad()


@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("models", "batch", "steps"), [(1, 5, 9), (3, 5, 9), (3, 1, 4), (1, 1, 1), (3, 4, 1)]
)
def test_outputs_and_gradients_are_those_of_each_network(
    variant: dict[str, Any], dtype: torch.dtype, models: int, batch: int, steps: int
) -> None:
    networks = [network(seed, **variant).to(dtype) for seed in range(models)]
    tokens = sequences(models, batch, steps)
    # Two products a step one after the other round twice: as far from float64 as from each other.
    single = 2e-6 if variant["cell"] == "gru_reset_first" else 1e-6
    tol = single if dtype == torch.float32 else 1e-10
    check(networks, tokens, None, tol)
    lengths = 1 + torch.arange(models * batch).view(models, batch) * 5 % steps
    check(networks, tokens, lengths, tol)


@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
def test_long_sequences_and_a_larger_vocabulary_in_float32(variant: dict[str, Any]) -> None:
    networks = [network(seed, hidden_size=64, words=40, **variant) for seed in range(2)]
    tokens = sequences(2, 32, 50, words=40)
    # Rounding grows with length: torch's own layers are as far from float64 here.
    check(networks, tokens, None, 5e-6)
    check(networks, tokens, 50 - torch.arange(64).view(2, 32) % 40, 5e-6)


@settings(max_examples=25, deadline=None)
@given(
    variant=st.sampled_from(VARIANTS),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    padding_idx=st.sampled_from([None, 0, 3]),
    models=st.integers(1, 3),
)
def test_any_lengths(
    variant: dict[str, Any], lengths: list[int], padding_idx: int | None, models: int
) -> None:
    networks = [network(s, padding_idx=padding_idx, **variant).double() for s in range(models)]
    tokens = sequences(models, len(lengths), max(lengths))
    check(networks, tokens, torch.tensor(lengths).expand(models, -1), 1e-10)


@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
def test_numerical_derivatives(variant: dict[str, Any]) -> None:
    stack = Stack.of(network(s, hidden_size=3, **variant).double() for s in range(2))
    names, values = zip(*stack.named_parameters(), strict=True)
    tokens, lengths = sequences(2, 3, 4), torch.tensor([[4, 1, 3], [2, 4, 4]])

    def logits(*parameters: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(stack, given, (tokens, lengths))

    inputs = [value.detach().clone().requires_grad_(True) for value in values]
    assert torch.autograd.gradcheck(logits, inputs)


@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
def test_what_stands_after_the_end_has_no_effect(variant: dict[str, Any]) -> None:
    stack = Stack.of(network(s, **variant) for s in range(2))
    tokens, lengths = sequences(2, 3, 6), torch.tensor([[6, 1, 3], [2, 4, 5]])
    grads = []
    for filler in (0, 5):
        stack.zero_grad()
        filled = tokens.masked_fill(torch.arange(6) >= lengths[..., None], filler)
        logits = stack(filled, lengths)
        logits.square().sum().backward()
        grads.append([logits.detach(), *(p.grad.clone() for p in stack.parameters())])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
def test_states_are_those_a_probe_sees(variant: dict[str, Any]) -> None:
    stack = Stack.of(network(s, **variant) for s in range(2))
    tokens = sequences(2, 3, 6)
    states = stack.states(tokens)
    for i in range(2):
        model = stack.member(i)
        with dynprobe.attach(model) as probe, torch.no_grad():
            model(tokens[i])
        torch.testing.assert_close(states[i], probe.recording().states, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
def test_members_are_initialised_bit_for_bit_by_their_seeds(variant: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    stack = Stack.seeded([4, 9], WORDS, 3, hidden_size=8, padding_idx=0, **variant)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(stack) == 2
    for i, seed in enumerate((4, 9)):
        generator = torch.Generator().manual_seed(seed)
        alone = RNNClassifier(
            WORDS, 3, hidden_size=8, padding_idx=0, generator=generator, **variant
        )
        member = stack.member(i)
        assert type(member) is RNNClassifier
        for (name, a), (other, b) in zip(
            alone.named_parameters(), member.named_parameters(), strict=True
        ):
            assert name == other
            assert torch.equal(a, b)


def test_a_member_is_a_copy_in_the_stacks_dtype() -> None:
    stack = Stack.of([network(0).double(), network(1).double()])
    member = stack.member(1)
    assert member.h0.dtype == torch.float64
    assert torch.equal(member.rnn.weight_hh_l0, stack.rnn_weight_hh_l0[1])
    with torch.no_grad():
        member.h0.add_(1)
    assert not torch.equal(member.h0, stack.h0[1])


def test_graphs_do_not_share_memory_and_can_be_used_again() -> None:
    stack = Stack.of([network(0)])
    a, b = sequences(1, 3, 4), sequences(1, 3, 5)[..., :4]
    grads = []
    for tokens in (a, b):
        stack.zero_grad()
        stack(tokens).sum().backward()
        grads.append(stack.rnn_weight_hh_l0.grad.clone())
    stack.zero_grad()
    first, second = stack(a).sum(), stack(b).sum()
    stack.states(a)
    with torch.no_grad():
        stack(b)
    second.backward()
    first.backward()
    torch.testing.assert_close(stack.rnn_weight_hh_l0.grad, grads[0] + grads[1])
    loss = stack(a).sum()
    stack.zero_grad()
    loss.backward(retain_graph=True)
    loss.backward()
    torch.testing.assert_close(stack.rnn_weight_hh_l0.grad, 2 * grads[0])


def test_training_goes_on_after_inference_mode_and_copies_hold_no_buffers() -> None:
    stack = Stack.of([network(0)])
    tokens = sequences(1, 3, 4)
    with torch.inference_mode():
        inferred = stack(tokens)
    logits = stack(tokens)
    assert torch.equal(inferred, logits)
    logits.sum().backward()
    before = len(pickle.dumps(copy.deepcopy(stack)))
    stack(sequences(1, 50, 50)).sum().backward()
    twin = copy.deepcopy(stack)
    twin.zero_grad()
    assert len(pickle.dumps(twin)) <= before
    assert torch.equal(twin(tokens), logits)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no network to stack"):
        Stack.of([])
    with pytest.raises(ValueError, match="one-hot inputs, and a network with a word embedding"):
        Stack.of([network(0, embedding_size=4)])
    with pytest.raises(ValueError, match="Network 1 has hidden_size 9, the first 8"):
        Stack.of([network(0), network(1, hidden_size=9)])
    with pytest.raises(ValueError, match="Network 1 has dtype torch.float64"):
        Stack.of([network(0), network(1).double()])
    stack = Stack.of([network(0), network(1)])
    tokens = sequences(2, 3, 4)
    with pytest.raises(ValueError, match=r"tokens have shape \(1, 3, 4\).*takes \(2, batch, time"):
        stack(tokens[:1])
    with pytest.raises(ValueError, match="tokens are 0 to 7.*ids 0 to 6"):
        stack(torch.tensor([0, 7]).expand(2, 1, 2))
    with pytest.raises(ValueError, match="lengths are 0 to 1"):
        stack(tokens, torch.tensor([[1, 0, 1], [1, 1, 1]]))
    with pytest.raises(ValueError, match=r"lengths have shape \(3,\)"):
        stack(tokens, torch.ones(3, dtype=torch.int64))
    with pytest.raises(IndexError, match="no network 2 in a stack of 2"):
        stack.member(2)
