"""Training on text and keeping the best epoch."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dynprobe.nn import RNNClassifier
from dynprobe.study import train_text as module
from dynprobe.study.evaluate import evaluate
from dynprobe.study.train_text import recurrent_parameters, train_text
from dynprobe.tasks import TextTask, text


@pytest.fixture
def task(tmp_path: Path) -> TextTask:
    """Two classes told apart by one word among others."""
    generator = torch.Generator().manual_seed(0)
    lines = ["label,text"]
    for row in range(200):
        words = [f"w{i}" for i in torch.randint(10, (row % 7 + 1,), generator=generator).tolist()]
        words.insert(len(words) // 2, ("good", "bad")[row % 2])
        lines.append(f"{row % 2},{' '.join(words)}")
    path = tmp_path / "toy.csv"
    path.write_text("\n".join(lines))
    return text(path)


def build(task: TextTask, dropout: float = 0.0) -> RNNClassifier:
    return RNNClassifier(
        len(task.vocabulary), task.n_classes, hidden_size=8, embedding_size=8, padding_idx=0,
        dropout=dropout, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def weights(model: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def test_training_learns(task: TextTask) -> None:
    model = build(task)
    log = train_text(model, task, epochs=10, batch_size=16, learning_rate=1e-2)
    assert evaluate(model, task.split("test").batches(32)) == 1
    assert len(log.validation_accuracy) == 10
    assert len(log.losses) == log.steps_planned == 10 * 10


def test_the_best_epoch_is_restored(task: TextTask, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    scores = iter([0.3, 0.8, 0.8, 0.5])

    def score(model: nn.Module, batches: object) -> float:
        seen.append(weights(model))
        return next(scores)

    monkeypatch.setattr(module, "evaluate", score)
    model = build(task)
    log = train_text(model, task, epochs=4, batch_size=64)
    assert log.validation_accuracy == (0.3, 0.8, 0.8, 0.5)
    assert log.best_epoch == 1
    assert torch.equal(weights(model), seen[1])
    assert not torch.equal(seen[1], seen[3])


def test_interrupting_keeps_the_best_finished_epoch(
    task: TextTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def score(model: nn.Module, batches: object) -> float:
        seen.append(weights(model))
        return 0.5

    def stop(done: int, planned: int, loss: float) -> None:
        if done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "evaluate", score)
    model = build(task)
    log = train_text(model, task, epochs=3, batch_size=40, progress=stop)
    assert log.interrupted
    assert (len(log.losses), log.steps_planned) == (5, 12)
    assert log.best_epoch == 0
    assert torch.equal(weights(model), seen[0])


def test_interrupting_in_the_first_epoch_keeps_the_weights_so_far(task: TextTask) -> None:
    def stop(done: int, planned: int, loss: float) -> None:
        raise KeyboardInterrupt

    model = build(task)
    before = weights(model)
    log = train_text(model, task, progress=stop)
    assert log.best_epoch is None
    assert log.validation_accuracy == ()
    assert not torch.equal(weights(model), before)


def test_the_penalty_is_on_the_recurrent_parameters_only(task: TextTask) -> None:
    model = build(task)
    recurrent = recurrent_parameters(model)
    assert {id(p) for p in recurrent} == {id(p) for p in model.rnn.parameters()}
    with torch.no_grad():
        squares = sum(float(p.square().sum()) for p in recurrent)
    free, penalised = (
        train_text(build(task), task, epochs=1, batch_size=200, l2=l2).losses[0]
        for l2 in (0.0, 0.5)
    )
    assert penalised - free == pytest.approx(0.5 * squares, rel=1e-4)


def test_the_penalised_parameters_can_be_chosen(task: TextTask) -> None:
    model = build(task)
    squares = float(model.readout.weight.detach().square().sum())
    free = train_text(build(task), task, epochs=1, batch_size=200, l2=0).losses[0]
    chosen = train_text(
        model, task, epochs=1, batch_size=200, l2=0.5, penalised=[model.readout.weight]
    ).losses[0]
    assert chosen - free == pytest.approx(0.5 * squares, rel=1e-3)


def test_the_seed_decides_and_the_global_state_is_left_alone(task: TextTask) -> None:
    results = []
    for seed in (0, 0, 1):
        model = build(task, dropout=0.3)
        before = torch.get_rng_state()
        train_text(model, task, epochs=1, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)
        results.append(weights(model))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_bad_arguments_are_refused(task: TextTask, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epochs is 0"):
        train_text(build(task), task, epochs=0)
    with pytest.raises(ValueError, match=r"penalised=model\.parameters"):
        train_text(nn.Linear(2, 2), task)
    unvalidated = text(tmp_path / "toy.csv", validation=0)
    with pytest.raises(ValueError, match="validation part is empty"):
        train_text(build(unvalidated), unvalidated)
