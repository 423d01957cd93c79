"""The reference recipe on synthetic tasks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dynprobe.nn import RNNClassifier
from dynprobe.study.evaluate import mean_loss
from dynprobe.study.penalty import l2_penalty
from dynprobe.study.train import evaluate, train
from dynprobe.tasks import Batch, categorical

TASK = categorical(n_classes=2, length=6)


def build(seed: int = 0, **arguments: object) -> RNNClassifier:
    generator = torch.Generator().manual_seed(seed)
    return RNNClassifier(3, 2, hidden_size=8, generator=generator, **arguments)  # type: ignore[arg-type]


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def test_penalty_is_the_sum_of_squares_with_gradient_twice_the_weights() -> None:
    a = torch.tensor([1.0, -2.0], requires_grad=True)
    b = torch.tensor([[3.0]], requires_grad=True)
    penalty = l2_penalty([a, b])
    assert penalty.item() == 14
    penalty.backward()
    assert a.grad is not None
    assert torch.equal(a.grad, 2 * a)


@pytest.mark.parametrize("clip", [10.0, 0.05])
def test_one_step_is_the_recipe_worked_out_by_hand(clip: float) -> None:
    model = build()
    by_hand = copy.deepcopy(model)
    log = train(model, TASK, steps=1, batch_size=16, l2=0.03, clip=clip, seed=4)

    batch = TASK.sample(16, generator=torch.Generator().manual_seed(4))
    theta = list(by_hand.parameters())
    loss = cross_entropy(by_hand(batch.tokens), batch.labels)
    grads = torch.autograd.grad(loss, theta)
    loss = loss.detach()
    grads = tuple(g + 2 * 0.03 * p for g, p in zip(grads, (p.detach() for p in theta), strict=True))
    norm = float(torch.stack([g.square().sum() for g in grads]).sum().sqrt())
    assert 0.05 < norm < 10
    grads = tuple(g * min(1.0, clip / norm) for g in grads)
    # The first Adam step, moments corrected for their zero start, is g / (|g| + eps).
    expected = torch.cat(
        [(p - 0.1 * g / (g.abs() + 0.1)).flatten() for p, g in zip(theta, grads, strict=True)]
    )
    torch.testing.assert_close(weights(model), expected.detach(), rtol=1e-4, atol=1e-6)
    squares = sum(float(p.detach().square().sum()) for p in theta)
    assert log.losses[0] == pytest.approx(float(loss) + 0.03 * squares, rel=1e-5)


@pytest.mark.parametrize(("cooldown", "factors"), [(0, (1, 1, 1)), (2, (1, 1, 0.5))])
def test_the_learning_rate_decays_and_the_second_moment_forgets(
    cooldown: int, factors: tuple[float, ...]
) -> None:
    """Adam followed by hand on one weight whose gradient is the penalty's alone."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([2.0]))

        def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            return self.weight * 0 + torch.zeros(len(tokens), 2)

    model = Constant()
    train(
        model, TASK, steps=3, batch_size=2, learning_rate=0.2, decay=0.5, l2=0.1, cooldown=cooldown
    )
    theta, m, v = 2.0, 0.0, 0.0
    for step, factor in enumerate(factors):
        g = 2 * 0.1 * theta
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        corrected = (v / (1 - 0.99 ** (step + 1))) ** 0.5
        theta -= factor * 0.2 * 0.5**step * (m / (1 - 0.9 ** (step + 1))) / (corrected + 0.1)
    assert model.weight.item() == pytest.approx(theta, rel=1e-5)


def test_training_learns_and_trains_the_initial_state() -> None:
    model = build()
    test = TASK.sample(400, seed=99)
    before = evaluate(model, [test])
    log = train(model, TASK, steps=150, batch_size=64)
    assert len(log.losses) == log.steps_planned == 150
    assert not log.interrupted
    assert log.seconds > 0
    assert evaluate(model, [test]) > max(0.9, before)
    assert model.h0.abs().max() > 1e-3


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    results = []
    for seed in (0, 0, 1):
        model = build(embedding_size=4, dropout=0.3)
        before = torch.get_rng_state()
        train(model, TASK, steps=3, batch_size=8, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)
        results.append(weights(model))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_interrupting_returns_what_is_done() -> None:
    calls: list[tuple[int, int]] = []

    def stop(done: int, planned: int, loss: float) -> None:
        calls.append((done, planned))
        if done == 3:
            raise KeyboardInterrupt

    model = build().eval()
    log = train(model, TASK, steps=10, batch_size=4, progress=stop)
    assert calls == [(1, 10), (2, 10), (3, 10)]
    assert log.interrupted
    assert len(log.losses) == 3
    assert log.steps_planned == 10
    assert not model.training
    whole = build()
    train(whole, TASK, steps=3, batch_size=4)
    assert torch.equal(weights(model), weights(whole))
    assert log.to_dict()["interrupted"] is True


def test_variable_lengths_are_trained_at_the_last_valid_word() -> None:
    task = categorical(n_classes=2, length=6, min_length=2)
    model = RNNClassifier(len(task.vocabulary), 2, hidden_size=8, padding_idx=task.padding_idx)
    train(model, task, steps=150, batch_size=64)
    assert evaluate(model, [task.sample(400, seed=99)]) > 0.9


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="steps is 0"):
        train(build(), TASK, steps=0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        train(build(), TASK, steps=1, batch_size=0)
    with pytest.raises(ValueError, match=r"cooldown is 2\. Pass 0 to 1"):
        train(build(), TASK, steps=1, cooldown=2)


def test_accuracy_is_the_share_of_correct_sequences_over_all_batches() -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return nn.functional.one_hot(tokens[:, 0], 3).float()

    def batch(first: list[int], labels: list[int]) -> Batch:
        return Batch.from_sequences([torch.tensor([f]) for f in first], torch.tensor(labels))

    model = First()
    batches = [batch([0, 1, 2], [0, 1, 0]), batch([2], [1])]
    assert evaluate(model, batches) == 0.5
    assert model.training
    with pytest.raises(ValueError, match="no sequence to evaluate"):
        evaluate(model, [])


def test_the_mean_loss_has_no_penalty_and_weighs_sequences_equally() -> None:
    model, batch = build(), TASK.sample(10, seed=0)
    expected = cross_entropy(model(batch.tokens, batch.lengths), batch.labels).item()
    parts = [Batch(batch.tokens[s], batch.lengths[s], batch.labels[s])
             for s in (slice(0, 3), slice(3, 10))]  # fmt: skip
    assert mean_loss(model, parts) == pytest.approx(expected)
