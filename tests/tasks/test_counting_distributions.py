"""How the counts of synthetic tasks are distributed, against enumeration."""

from collections import Counter

import pytest
import torch
from uniformity import compositions, is_uniform

from dynprobe.tasks import (
    Batch,
    categorical,
    correlated,
    interpolated,
    multilabel,
    ordered,
    shuffled,
)
from dynprobe.tasks.counting import CountingTask
from dynprobe.tasks.multilabel import _share_without_zeros

Counts = tuple[int, ...]


def word_counts(task: CountingTask, batch: Batch) -> list[Counts]:
    return [
        tuple(torch.bincount(row, minlength=len(task.vocabulary)).tolist()) for row in batch.tokens
    ]


def totals(task: CountingTask, counts: Counts) -> tuple[float, ...]:
    return tuple((torch.tensor(counts, dtype=torch.float64) @ task.evidence).tolist())


def by_class(task: CountingTask, length: int) -> dict[int, list[Counts]]:
    """All counts with a single winner, by the winner."""
    found: dict[int, list[Counts]] = {}
    for counts in compositions(length, len(task.vocabulary)):
        scores = totals(task, counts)
        best = sorted(scores)[-2:]
        if best[1] - best[0] > 1e-9:
            found.setdefault(scores.index(best[1]), []).append(counts)
    return found


@pytest.mark.parametrize(
    "task",
    [
        categorical(2, 3, strong=True, against=True),
        categorical(3, 3, strong=True),
        categorical(3, 3, against=True),
        correlated(4, 0.5, 4),
        correlated(5, 0.3, 3),
        interpolated(3, 0.0, 4),
    ],
    ids=lambda task: task.name,
)
def test_counts_of_each_class_are_uniform_among_untied_ones(task: CountingTask) -> None:
    possible = by_class(task, task.length)
    largest = max(len(some) for some in possible.values())
    batch = task.sample(40 * largest * task.n_classes, seed=0)
    drawn = word_counts(task, batch)
    for k in range(task.n_classes):
        of_class = [c for c, label in zip(drawn, batch.labels, strict=True) if label == k]
        assert is_uniform(of_class, possible[k])


@pytest.mark.parametrize(
    "task",
    [categorical(2, 6, ties="first"), categorical(3, 3, against=True, ties="first")],
    ids=lambda task: task.name,
)
def test_with_ties_the_first_class_wins_and_counts_of_each_class_are_uniform(
    task: CountingTask,
) -> None:
    possible: dict[int, list[Counts]] = {}
    for counts in compositions(task.length, len(task.vocabulary)):
        scores = totals(task, counts)
        possible.setdefault(scores.index(max(scores)), []).append(counts)
    assert len(possible[0]) > len(possible[task.n_classes - 1])
    batch = task.sample(60 * len(possible[0]) * task.n_classes, seed=0)
    assert batch.labels.bincount().unique().numel() == 1
    drawn = word_counts(task, batch)
    for k in range(task.n_classes):
        of_class = [c for c, label in zip(drawn, batch.labels, strict=True) if label == k]
        assert is_uniform(of_class, possible[k])


def test_with_ties_lengths_are_uniform_although_short_sequences_tie_more_often() -> None:
    task = categorical(2, length=4, min_length=1, ties="first")
    for k in range(2):
        batch = task.sample(8000, seed=0)
        found = batch.lengths[batch.labels == k].bincount(minlength=5)[1:]
        assert (found - 1000).abs().max() < 5 * (4000 * 0.25 * 0.75) ** 0.5


@pytest.mark.parametrize("neutral", [False, True])
def test_counts_of_each_combination_of_labels_are_uniform(neutral: bool) -> None:
    task = multilabel(2, 4, neutral=neutral)
    possible: dict[tuple[bool, ...], list[Counts]] = {}
    for counts in compositions(4, len(task.vocabulary)):
        if 0 not in (scores := totals(task, counts)):
            possible.setdefault(tuple(score > 0 for score in scores), []).append(counts)
    batch = task.sample(400 * len(possible[True, True]), seed=0)
    drawn = word_counts(task, batch)
    assert len(possible) == 4
    for combination, some in possible.items():
        of = [
            c for c, y in zip(drawn, batch.labels.tolist(), strict=True) if tuple(y) == combination
        ]
        assert is_uniform(of, some)


@pytest.mark.parametrize(("length", "n", "neutral"), [(4, 2, False), (5, 2, True), (5, 1, True)])
def test_the_share_of_counts_without_a_score_of_zero(length: int, n: int, neutral: bool) -> None:
    every = compositions(length, 2 * n + neutral)
    kept = [c for c in every if all(c[k] != c[n + k] for k in range(n))]
    share = _share_without_zeros(length, n, neutral)
    assert share == pytest.approx(len(kept) / len(every))


@pytest.mark.parametrize(
    "task",
    [
        ordered(3, 10),
        ordered(5, 9, strong=True),
        ordered(2, 7),
        interpolated(3, 1.0, 5),
        interpolated(4, 1.0, 4),
        ordered(5, 4, two_scores=True),
    ],
    ids=lambda task: task.name,
)
def test_scores_are_uniform_in_a_class_and_counts_uniform_at_a_score(task: CountingTask) -> None:
    values = task.evidence
    if task.name.startswith("interpolated"):  # its classes are bands of this score
        n = task.n_classes
        values = torch.tensor([[2.0 * k - (n - 1)] for k in range(n)] + [[0.0]])

    def score(counts: Counts) -> tuple[float, ...]:
        return tuple((torch.tensor(counts, dtype=values.dtype) @ values).tolist())

    batch = task.sample(8000, seed=0)
    drawn = [tuple(c) for c in word_counts(task, batch)]
    scores = [score(c) for c in drawn]
    for k in range(task.n_classes):
        of_class = [s for s, label in zip(scores, batch.labels, strict=True) if label == k]
        if len(set(of_class)) > 1:
            assert is_uniform(of_class, sorted(set(of_class)))
    every: dict[tuple[float, ...], list[Counts]] = {}
    for counts in compositions(task.length, len(task.vocabulary)):
        every.setdefault(score(counts), []).append(counts)
    # Every score is seen but the ties: the borders of bands, the origin of the two scores.
    assert len(every) - len(set(scores)) <= task.n_classes - 1
    checked = 0
    for value, some in every.items():
        at_score = [c for c, s in zip(drawn, scores, strict=True) if s == value]
        assert set(at_score) <= set(some)
        if len(some) > 1 and len(at_score) >= 20 * len(some):
            assert is_uniform(at_score, some)
            checked += 1
    assert checked >= 2


def test_bands_without_borders_give_every_score_its_share() -> None:
    """Three bands of 50 words: no score lies on a border, and all 101 have nearly one chance."""
    task = ordered(3, 50)
    scores = task.scores(task.sample(30_000, seed=0).tokens)[:, -1, 0].int()
    found = torch.bincount(scores + 50, minlength=101)
    assert found.shape == (101,)
    assert 200 < found.min() < found.max() < 400


def test_bands_are_those_of_the_definition() -> None:
    task = ordered(5, 50)
    batch = task.sample(3000, seed=0)
    seen: dict[int, set[int]] = {k: set() for k in range(5)}
    for score, label in zip(task.scores(batch.tokens)[:, -1, 0], batch.labels, strict=True):
        seen[int(label)].add(int(score))
    assert seen[0] == set(range(-50, -30))
    assert seen[2] == set(range(-9, 10))
    assert seen[3] == set(range(11, 30))
    assert seen[4] == set(range(31, 51))


def test_stars_are_sectors_of_sentiment_and_neutrality() -> None:
    task = ordered(5, 1, two_scores=True)
    batch = task.sample(200, seed=0)
    stars = {
        task.vocabulary[int(word)]: task.class_names[int(label)]
        for word, label in zip(batch.tokens[:, 0], batch.labels, strict=True)
    }
    assert stars == {
        "awesome": "5 stars",
        "good": "4 stars",
        "okay": "3 stars",
        "bad": "2 stars",
        "awful": "1 star",
    }


def test_the_far_ends_of_interpolation_are_the_two_tasks() -> None:
    assert torch.equal(interpolated(4, 0.0).evidence, categorical(4).evidence)
    table = interpolated(3, 1.0, 6).evidence
    for counts in compositions(6, 4):
        scores = (torch.tensor(counts, dtype=torch.float64) @ table).tolist()
        score = counts[2] - counts[0]  # B is in the middle
        if abs(score) != 2:  # the borders of three bands from -6 to 6
            assert scores.index(max(scores)) == (0 if score < -2 else 2 if score > 2 else 1)


def test_correlation_leaves_rho_to_the_neighbours_on_the_ring() -> None:
    assert correlated(5, 0.25).evidence.tolist() == [
        [1, 0.25, 0, 0, 0.25],
        [0.25, 1, 0.25, 0, 0],
        [0, 0.25, 1, 0.25, 0],
        [0, 0, 0.25, 1, 0.25],
        [0.25, 0, 0, 0.25, 1],
        [0, 0, 0, 0, 0],
    ]
    without = categorical(5, 20).sample(50, seed=0)
    none = correlated(5, 0.0, 20)
    assert torch.equal(none.scores(without.tokens)[:, -1].argmax(1), without.labels)


def test_default_categorical_samples_stay_what_they_were() -> None:
    batch = categorical(3, 6, 2).sample(4, seed=0)
    assert batch.tokens.tolist() == [
        [2, 2, 2, 4, 3, 2],
        [4, 2, 2, 2, 2, 4],
        [4, 1, 3, 4, 3, 0],
        [1, 1, 0, 0, 0, 0],
    ]
    assert batch.labels.tolist() == [1, 1, 2, 0]


def test_shuffling_keeps_the_words_and_mixes_their_order_evenly() -> None:
    task = categorical(3, 8, min_length=2)
    batch = task.sample(300, seed=0)
    before = batch.tokens.clone()
    other = shuffled(batch, seed=1)
    assert torch.equal(batch.tokens, before)
    assert other.lengths is batch.lengths
    assert other.labels is batch.labels
    assert word_counts(task, other) == word_counts(task, batch)
    valid = torch.arange(8) < batch.lengths[:, None]
    assert torch.equal(other.tokens != 0, valid)
    assert not torch.equal(other.tokens, batch.tokens)
    assert torch.equal(other.tokens, shuffled(batch, seed=1).tokens)
    with pytest.raises(ValueError, match="needs explicit randomness"):
        shuffled(batch)

    one = Batch(torch.tensor([[1, 2, 3, 0]]).expand(3000, -1), torch.full((3000,), 3), before[:, 0])
    orders = Counter(tuple(row) for row in shuffled(one, seed=0).tokens.tolist())
    assert is_uniform(list(orders.elements()), list(orders))
    assert len(orders) == 6
