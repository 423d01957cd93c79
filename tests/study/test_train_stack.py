"""Training of stacks: the same as one by one, resumed exactly, ended by a stated rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import dynprobe
from dynprobe.dimension import participation_ratio
from dynprobe.errors import CheckpointError, FileFormatError
from dynprobe.nn import RNNClassifier
from dynprobe.nn.stacked import Stack
from dynprobe.study.evaluate import evaluate
from dynprobe.study.settling import Check, Settling, look
from dynprobe.study.train import train
from dynprobe.study.train_stack import train_stack
from dynprobe.study.watch import Watch
from dynprobe.tasks import Batch, categorical

SEEDS, L2 = (3, 8, 5), (5e-4, 0.0, 2e-2)
ONE_LENGTH = categorical(3, length=8)
LENGTHS = categorical(3, length=8, min_length=1)


@dataclass(frozen=True)
class Signs:
    """Two labels, each given where its word came at all."""

    name = "signs"
    vocabulary = ("a", "b", "neutral")
    class_names = ("A", "B")
    n_classes = 2
    padding_idx = None

    def sample(
        self, n: int, *, seed: int | None = None, generator: torch.Generator | None = None
    ) -> Batch:
        if generator is None:
            generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(3, (n, 4), generator=generator)
        labels = torch.stack([(tokens == k).any(1) for k in range(2)], 1)
        return Batch(tokens, torch.full((n,), 4), labels)


def networks(task: Any, cell: str, seeds: tuple[int, ...] = (0, 1, 2)) -> list[RNNClassifier]:
    return [
        RNNClassifier(
            len(task.vocabulary), task.n_classes, cell=cell, hidden_size=8,
            padding_idx=task.padding_idx, generator=torch.Generator().manual_seed(seed),
            readout_state="hc" if cell == "lstm" else "h",
        )
        for seed in seeds
    ]  # fmt: skip


def weights(stack: Stack) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in stack.parameters()]


@pytest.mark.parametrize(
    ("cell", "task", "clip"),
    [
        ("gru", ONE_LENGTH, 10.0),
        ("gru", LENGTHS, 0.3),
        ("gru", Signs(), 10.0),
        ("lstm", LENGTHS, 10.0),
        ("lstm", Signs(), 10.0),
        ("rnn", LENGTHS, 10.0),
        ("ugrnn", LENGTHS, 10.0),
    ],
)
@pytest.mark.parametrize(("dtype", "tol"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
def test_a_stack_is_trained_as_its_members_are_one_by_one(
    cell: str, task: Any, clip: float, dtype: torch.dtype, tol: float
) -> None:
    if cell == "rnn" and dtype == torch.float32:
        tol = 1e-3  # its gradients grow with the steps, and rounding with them
    alone = [model.to(dtype) for model in networks(task, cell)]
    stack = Stack.of(alone)
    start = weights(stack)
    settings: dict[str, Any] = {"steps": 30, "batch_size": 16, "cooldown": 10, "clip": clip}
    log = train_stack(stack, task, seeds=SEEDS, l2=L2, **settings)
    assert log.steps == log.steps_planned == 30
    assert log.l2 == L2
    for i, model in enumerate(alone):
        one = train(model, task, l2=L2[i], seed=SEEDS[i], **settings)
        assert log.losses[i] == pytest.approx(one.losses, rel=10 * tol)
        member = stack.member(i)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(
                member.get_parameter(name), parameter, rtol=tol, atol=tol, msg=name
            )
    moved = [(a - b).abs().max() for a, b in zip(start, weights(stack), strict=True)]
    assert min(moved) > 1e-4


def test_a_member_does_not_depend_on_its_neighbours() -> None:
    def first(neighbour: int) -> list[torch.Tensor]:
        stack = Stack.of(networks(ONE_LENGTH, "gru", (0, neighbour)))
        train_stack(stack, ONE_LENGTH, steps=5, batch_size=8, seeds=(3, neighbour), l2=(0.1, 0.2))
        return [weight[0] for weight in weights(stack)]

    for a, b in zip(first(1), first(2), strict=True):
        assert torch.equal(a, b)


EAGER = Settling(check_every=4, patience=2, pr_tol=9, accuracy_tol=2, min_steps=8, sequences=20)


def run(path: Path | None, stop_at: int | None = None, **changed: Any) -> tuple[Stack, Any]:
    stack = Stack.of(networks(LENGTHS, "lstm"))

    def killed(done: int, planned: int, loss: float) -> None:
        if done == stop_at:
            raise RuntimeError("killed")

    arguments: dict[str, Any] = {
        "steps": 40, "seeds": SEEDS, "l2": L2, "batch_size": 8, "every": 3, "cooldown": 7,
        "settling": EAGER, "checkpoint": path, "progress": killed,
    }  # fmt: skip
    return stack, train_stack(stack, LENGTHS, **arguments | changed)


@pytest.mark.parametrize("stop_at", [2, 3, 7, 8, 13])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    whole, log = run(None)
    assert (log.settled_at, log.steps) == ((8, 8, 8), 15)
    path = tmp_path / "run.safetensors"
    with pytest.raises(RuntimeError, match="killed"):
        run(path, stop_at)
    resumed, again = run(path)
    assert again.losses == log.losses
    assert again.checks == log.checks
    assert again.settled_at == log.settled_at
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(a, b)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    # A run that is done is read, not done again.
    read, finished = run(path, stop_at=1)
    assert finished.losses == log.losses
    assert finished.checks == log.checks
    assert torch.equal(read.h0, whole.h0)


def test_a_run_without_cooldown_can_be_prolonged(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"cooldown": 0, "settling": None}
    whole, log = run(None, steps=9, **settings)
    path = tmp_path / "run.safetensors"
    run(path, steps=5, **settings)
    prolonged, again = run(path, steps=9, **settings)
    assert again.losses == log.losses
    assert torch.equal(prolonged.h0, whole.h0)


def test_a_run_without_cooldown_goes_on_under_another_rule(tmp_path: Path) -> None:
    early = Settling(check_every=2, patience=2, pr_tol=9, accuracy_tol=9, min_steps=4, sequences=20)
    later = replace(early, min_steps=8)
    _, log = run(None, steps=9, cooldown=0, settling=later)
    path = tmp_path / "run.safetensors"
    _, short = run(path, steps=9, cooldown=0, settling=early)
    assert (short.steps, log.steps) == (4, 8)
    _, again = run(path, steps=9, cooldown=0, settling=later)
    assert (again.losses, again.checks) == (log.losses, log.checks)
    with pytest.raises(CheckpointError, match="settling"):  # other checks cannot be told apart
        run(path, steps=9, cooldown=0, settling=replace(later, check_every=3))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    run(path, steps=9)
    with pytest.raises(CheckpointError, match=r"seeds \[3, 8, 5\].*\[3, 8, 6\]"):
        run(path, steps=9, seeds=(3, 8, 6))
    with pytest.raises(CheckpointError, match="recipe"):
        run(path, steps=9, l2=0.1)
    with pytest.raises(CheckpointError, match="steps 9, and this one has 10"):
        run(path, steps=10)
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="damaged"):
        run(path)
    dynprobe.Recording.from_arrays(torch.zeros(2, 3, 4)).save(path)
    with pytest.raises(FileFormatError, match="no checkpoint of a training"):
        run(path)
    with pytest.raises(FileFormatError, match="folder .* does not exist"):
        run(tmp_path / "none" / "run.safetensors")


def test_interrupting_keeps_what_is_done_and_the_global_state_is_left_alone() -> None:
    calls: list[tuple[int, int, float]] = []

    def stop(done: int, planned: int, loss: float) -> None:
        calls.append((done, planned, loss))
        if done == 3:
            raise KeyboardInterrupt

    before = torch.get_rng_state()
    stack, log = run(None, progress=stop)
    assert torch.equal(torch.get_rng_state(), before)
    assert log.interrupted
    assert [call[:2] for call in calls] == [(1, 40), (2, 40), (3, 40)]
    means = [sum(losses) / 3 for losses in zip(*log.losses, strict=True)]
    assert [call[2] for call in calls] == pytest.approx(means, rel=1e-6)
    whole, _ = run(None, steps=3, cooldown=0, settling=None)
    assert torch.equal(stack.h0, whole.h0)


def checks(*values: tuple[int, float, float]) -> list[Check]:
    return [Check(*value) for value in values]


def test_the_rule() -> None:
    rule = Settling(patience=3, min_steps=300, pr_tol=0.02, accuracy_tol=0.01)
    still = [(100, 0.5, 3.0), (200, 0.990, 2.00), (300, 0.995, 2.03), (400, 0.992, 2.01)]
    assert rule.settled(checks(*still))
    assert not rule.settled(checks(*still[1:3]))
    assert not rule.settled(checks(*still[:3]))
    assert not rule.settled(checks(*still[1:], (500, 0.990, 2.06)))
    assert not rule.settled(checks(*still[1:], (500, 0.970, 2.02)))
    early = checks(*[(step // 2, accuracy, ratio) for step, accuracy, ratio in still])
    assert not rule.settled(early)
    assert not rule.settled(checks(*[(step, 0.9, float("nan")) for step in (400, 500, 600)]))
    with pytest.raises(ValueError, match="patience 1"):
        Settling(patience=1)


def test_training_ends_where_the_last_member_has_settled() -> None:
    _, log = run(None, cooldown=0)
    assert (log.settled_at, log.steps) == ((8, 8, 8), 8)
    assert [[c.step for c in member] for member in log.checks] == [[4, 8]] * 3
    never = Settling(check_every=4, patience=2, pr_tol=0.0, min_steps=1, sequences=20)
    _, log = run(None, settling=never, steps=10)
    assert (log.settled_at, log.steps) == ((None, None, None), 10)
    assert [c.step for c in log.checks[0]] == [4, 8, 10]


@pytest.mark.parametrize(("cooldown", "end"), [(0, 4), (2, 6), (3, 6)])
def test_a_member_that_has_settled_waits_for_the_others(cooldown: int, end: int) -> None:
    rule = Settling(check_every=1, patience=2, pr_tol=9, accuracy_tol=0.1, min_steps=1)
    watch = Watch(rule, ONE_LENGTH, members=2, steps=6, cooldown=cooldown)
    accuracies = [(0.5, 0.5), (0.5, 0.7), (0.9, 0.9), (0.5, 0.9), (0.9, 0.5), (0.5, 0.9)]
    seen = []
    for done, pair in enumerate(accuracies, 1):
        with pytest.MonkeyPatch.context() as patch:
            found = [Check(done, accuracy, 2.0) for accuracy in pair]
            patch.setattr("dynprobe.study.watch.look", lambda *_, found=found: found)
            watch.after(Stack.of(networks(ONE_LENGTH, "gru")), done)
        seen.append(watch.end)
    assert watch.settled_at == [2, 4]
    assert seen == [6, 6, 6, end, end, end]
    again = Watch(rule, ONE_LENGTH, members=2, steps=6, cooldown=cooldown)
    again.restore(watch.to_dict())
    assert (again.end, again.settled_at, again.checks) == (end, [2, 4], watch.checks)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("task", [ONE_LENGTH, LENGTHS, Signs()], ids=["one", "lengths", "signs"])
def test_a_look_is_accuracy_and_dimension_of_what_a_probe_sees(cell: str, task: Any) -> None:
    stack = Stack.of(networks(task, cell))
    batch = task.sample(50, seed=1)
    for i, check in enumerate(look(stack, batch, 7, at_once=16)):
        model = stack.member(i)
        with dynprobe.attach(model) as probe, torch.no_grad():
            model(batch.tokens, batch.lengths)
        states = probe.recording().states
        points = torch.cat(
            [row[: n - 1][::2] for row, n in zip(states, batch.lengths.tolist(), strict=True)]
        ).double()
        assert check.step == 7
        assert check.accuracy == pytest.approx(evaluate(model, [batch]))
        expected = participation_ratio(torch.linalg.svdvals(points - points.mean(0)).square())
        assert check.participation_ratio == pytest.approx(expected, rel=1e-4)


def test_bad_arguments_are_refused() -> None:
    stack = Stack.of(networks(ONE_LENGTH, "gru"))
    for wrong, message in (
        ({"steps": 0}, "steps is 0"),
        ({"cooldown": 2}, r"cooldown is 2\. Pass 0 to 1"),
        ({"every": 0}, "every is 0"),
        ({"seeds": (1,)}, "seeds has 1 entries, and the stack 3 members"),
        ({"l2": (1.0, 2.0)}, "l2 has 2 entries"),
    ):
        arguments: dict[str, Any] = {"steps": 1, "seeds": SEEDS} | wrong
        with pytest.raises(ValueError, match=message):
            train_stack(stack, ONE_LENGTH, **arguments)
