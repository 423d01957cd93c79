"""What every synthetic task keeps: labels from tokens, balance, lengths, padding, randomness."""

from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynprobe.tasks import (
    Batch,
    Interpolated,
    categorical,
    correlated,
    interpolated,
    multilabel,
    ordered,
)
from dynprobe.tasks.counting import CountingTask
from dynprobe.tasks.scoring import hits
from dynprobe.tasks.shuffle import scattered
from dynprobe.tasks.task import Task

MAKERS = {
    "categorical": lambda n, length, low: categorical(n, length, low),
    "strong": lambda n, length, low: categorical(n, length, low, strong=True, against=True),
    "ordered": lambda n, length, low: ordered(n, length, low),
    "ordered-strong": lambda n, length, low: ordered(n, length, low, strong=True),
    "five-stars": lambda n, length, low: ordered(5, length, low, two_scores=True),
    "multilabel": lambda n, length, low: multilabel(n, length, low),
    "multilabel-neutral": lambda n, length, low: multilabel(n, length, low, neutral=True),
    "correlated": lambda n, length, low: correlated(n + 2, 0.3, length, low),
    "interpolated-0": lambda n, length, low: interpolated(n, 0.0, length, low),
    "interpolated": lambda n, length, low: interpolated(n, 0.4, length, low),
    "interpolated-1": lambda n, length, low: interpolated(n, 1.0, length, low),
}


def final_scores(task: CountingTask, batch: Batch) -> list[list[float]]:
    """Add up what the words are worth, one by one."""
    worth = dict(zip(task.vocabulary, task.evidence.tolist(), strict=True))
    totals = []
    for sequence in batch.sequences():
        total = [0.0] * task.evidence.shape[1]
        for token in sequence.tolist():
            total = [a + b for a, b in zip(total, worth[task.vocabulary[token]], strict=True)]
        totals.append(total)
    return totals


def label_by_definition(kind: str, scores: list[float], length: int, n_classes: int) -> object:
    """The label written anew, in ordinary arithmetic; None where it would be a tie."""
    if kind.startswith("multilabel"):
        return None if 0 in scores else [score >= 0 for score in scores]
    if kind.startswith("ordered"):
        reach = length * (2 if "strong" in kind else 1)
        for k in range(n_classes):
            low, high = (-reach + 2 * reach * edge / n_classes for edge in (k, k + 1))
            if low + 1e-9 < scores[0] < high - 1e-9 or (
                abs(scores[0]) == reach and (k == (n_classes - 1 if scores[0] > 0 else 0))
            ):
                return k
        return None
    if kind == "five-stars":
        if scores == [0, 0]:
            return None
        angle = torch.rad2deg(torch.atan2(torch.tensor(scores[1]), torch.tensor(scores[0])))
        return next(k for k in range(5) if 36 * (4 - k) <= angle + 1e-4)
    best = sorted(scores)[-2:]
    return None if best[1] - best[0] < 1e-9 else scores.index(best[1])


@pytest.mark.parametrize("kind", MAKERS)
@settings(max_examples=12, deadline=None)
@given(
    n=st.integers(2, 5),
    length=st.integers(12, 20),
    low=st.one_of(st.none(), st.integers(10, 12)),
    seed=st.integers(0, 10_000),
)
def test_labels_follow_from_the_tokens(
    kind: str, n: int, length: int, low: int | None, seed: int
) -> None:
    task: CountingTask = MAKERS[kind](n, length, low)
    batch = task.sample(40, seed=seed)
    scores = final_scores(task, batch)
    expected = [
        label_by_definition(kind, score, int(length), task.n_classes)
        for score, length in zip(scores, batch.lengths, strict=True)
    ]
    assert batch.labels.tolist() == expected
    everything = task.scores(batch.tokens)
    torch.testing.assert_close(everything[:, -1], torch.tensor(scores, dtype=torch.float64))
    torch.testing.assert_close(everything[:, 0], task.evidence[batch.tokens[:, 0]])


@pytest.mark.parametrize("kind", MAKERS)
def test_a_task_is_what_training_asks_for(kind: str) -> None:
    task: Task = MAKERS[kind](3, 12, None)
    assert task.padding_idx is None
    assert task.n_classes == len(task.class_names) == len(set(task.class_names))
    assert len(set(task.vocabulary)) == len(task.vocabulary)
    assert task.name
    batch = task.sample(64, seed=0)
    assert batch.tokens.shape == (64, 12)
    assert (batch.lengths == 12).all()
    assert set(batch.tokens.flatten().tolist()) == set(range(len(task.vocabulary)))
    assert batch.tokens.dtype == batch.lengths.dtype == torch.int64
    logits = torch.randn(64, task.n_classes, generator=torch.Generator().manual_seed(0))
    assert 0 < int(hits(logits, batch.labels).sum()) < 64


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("n", [1, 7, 100])
def test_classes_are_balanced(kind: str, n: int) -> None:
    task = MAKERS[kind](3, 12, 10)
    labels = task.sample(n, seed=2).labels
    n_groups = task.n_classes
    if labels.dim() == 2:
        n_groups = 2**task.n_classes
        labels = (labels.long() * 2 ** torch.arange(task.n_classes)).sum(1)
    found = torch.bincount(labels, minlength=n_groups)
    assert found.max() - found.min() <= 1
    assert found.sum() == n
    if n == 100:
        assert labels.tolist() != sorted(labels.tolist())


@pytest.mark.parametrize("kind", MAKERS)
def test_padding_is_id_0_after_the_end_and_adds_nothing(kind: str) -> None:
    task = MAKERS[kind](2, 14, 5)
    assert task.padding_idx == 0
    assert task.vocabulary[0] == "<pad>"
    assert (task.evidence[0] == 0).all()
    batch = task.sample(200, seed=0)
    valid = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
    assert torch.equal(batch.tokens != 0, valid)
    assert batch.lengths.min() >= 5
    assert batch.tokens.shape[1] == batch.lengths.max() <= 14
    last = task.scores(batch.tokens)[torch.arange(200), batch.lengths - 1]
    torch.testing.assert_close(task.scores(batch.tokens)[:, -1], last)


@pytest.mark.parametrize("kind", MAKERS)
def test_lengths_are_uniform(kind: str) -> None:
    task = MAKERS[kind](2, 8, 4)
    found = torch.bincount(task.sample(5000, seed=0).lengths, minlength=9)[4:]
    if isinstance(task, Interpolated):  # which class a length favours shifts its lengths a little
        assert found.min() > 800
    else:
        assert (found - 1000).abs().max() < 5 * sqrt(5000 * 0.2 * 0.8)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_seed_decides_and_the_global_state_is_left_alone(kind: str) -> None:
    task = MAKERS[kind](3, 12, None)
    before = torch.get_rng_state()
    first, other = task.sample(20, seed=5).tokens, task.sample(20, seed=6).tokens
    assert torch.equal(torch.get_rng_state(), before)
    again = MAKERS[kind](3, 12, None).sample(20, seed=5).tokens
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = torch.Generator().manual_seed(5)
    assert torch.equal(first, task.sample(20, generator=generator).tokens)
    assert not torch.equal(first, task.sample(20, generator=generator).tokens)


def test_evidence_is_a_copy_and_tasks_compare_by_their_arguments() -> None:
    task = categorical(2)
    task.evidence.zero_()
    assert task.evidence.tolist() == [[1, 0], [0, 1], [0, 0]]
    assert task == categorical(2)
    assert ordered(3) != ordered(3, strong=True)
    assert hash(ordered(3)) == hash(ordered(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ordered(1), "n_classes is 1"),
        (lambda: ordered(3, 0), "length is 0"),
        (lambda: ordered(8, 4), r"No sequence of 4 words is of class 'band 2' with 8 classes"),
        (lambda: ordered(5, 20, 1), r"No sequence of 1 words .*larger length \(or min_length\)"),
        (lambda: ordered(3, two_scores=True), r"n_classes is 3.*five stars.*n_classes=5"),
        (lambda: ordered(5, 5, 6, two_scores=True), "min_length is 6 and length is 5"),
        (lambda: multilabel(0), "n_labels is 0"),
        (lambda: multilabel(3, 2), r"length is 2 and n_labels is 3.*Pass length=3"),
        (lambda: multilabel(10, 10), r"share of 5e-05 has no score of 0 among 10 labels"),
        (lambda: multilabel(3, 9, 1), r"min_length is 1 and n_labels is 3.*Pass min_length=3"),
        (lambda: correlated(3), r"n_classes is 3.*fewer than 4.*n_classes=4"),
        (lambda: correlated(4, 1.0), r"rho is 1\.0"),
        (lambda: correlated(4, -0.1), r"rho is -0\.1"),
        (lambda: interpolated(3, 1.5), r"t is 1\.5"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_scattered_words_stay_as_frequent_and_leave_their_sequence() -> None:
    batch = categorical(3, length=12, min_length=3).sample(40, seed=0)
    other = scattered(batch, seed=1)
    assert torch.equal(other.tokens.sum((0, 1)), batch.tokens.sum((0, 1)))
    assert torch.equal(other.tokens.flatten().bincount(), batch.tokens.flatten().bincount())
    assert torch.equal(other.tokens == 0, batch.tokens == 0)  # padding stays where it is
    assert not torch.equal(other.tokens.sort(1).values, batch.tokens.sort(1).values)
    assert torch.equal(scattered(batch, seed=1).tokens, other.tokens)
