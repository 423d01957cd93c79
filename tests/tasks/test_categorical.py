"""The categorical counting task."""

from collections import Counter
from itertools import product
from math import sqrt

import pytest
import torch

from dynprobe.tasks import Batch, Categorical, categorical


def evidence(task: Categorical, batch: Batch) -> torch.Tensor:
    first = 0 if task.padding_idx is None else 1
    return torch.stack([(batch.tokens == first + k).sum(1) for k in range(task.n_classes)], dim=1)


def test_vocabulary_of_one_length_has_no_padding() -> None:
    task = categorical(n_classes=3, length=50)
    assert task.vocabulary == ["A", "B", "C", "neutral"]
    assert task.class_names == ["A", "B", "C"]
    assert task.padding_idx is None


def test_vocabulary_of_varying_length_starts_with_padding() -> None:
    task = categorical(n_classes=2, length=5, min_length=1)
    assert task.vocabulary == ["<pad>", "A", "B", "neutral"]
    assert task.padding_idx == 0


def test_class_names_stay_distinct_past_the_alphabet() -> None:
    assert len(set(categorical(n_classes=30).vocabulary)) == 31


@pytest.mark.parametrize("min_length", [None, 1, 3])
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_label_is_the_single_winner(n_classes: int, min_length: int | None) -> None:
    task = categorical(n_classes, length=9, min_length=min_length)
    batch = task.sample(500, seed=0)
    scores = evidence(task, batch)
    best = scores.topk(2, dim=1).values
    assert (best[:, 0] > best[:, 1]).all()
    assert torch.equal(scores.argmax(1), batch.labels)


@pytest.mark.parametrize(("n", "n_classes"), [(600, 3), (7, 3), (1000, 10), (2, 5)])
def test_classes_are_balanced(n: int, n_classes: int) -> None:
    found = torch.bincount(
        categorical(n_classes, length=4).sample(n, seed=1).labels, minlength=n_classes
    )
    assert found.max() - found.min() <= 1
    assert found.sum() == n


def test_labels_are_in_random_order() -> None:
    labels = categorical(2, length=3).sample(400, seed=0).labels
    changes = int((labels.diff() != 0).sum())
    assert abs(changes - 200) < 5 * sqrt(100)


def test_counts_are_uniform_among_untied_ones() -> None:
    task = categorical(n_classes=3, length=4)
    batch = task.sample(9000, seed=0)
    counts = Counter(tuple(row) for row in evidence(task, batch).tolist())
    possible = [
        c for c in product(range(5), repeat=3) if sum(c) <= 4 and sorted(c)[-1] > sorted(c)[-2]
    ]
    assert set(counts) == set(possible)
    expected = 9000 / len(possible)
    statistic = sum((counts[c] - expected) ** 2 / expected for c in possible)
    freedom = len(possible) - 1
    assert abs(statistic - freedom) < 5 * sqrt(2 * freedom)


def test_lengths_are_uniform_although_short_sequences_tie_more_often() -> None:
    task = categorical(n_classes=2, length=4, min_length=1)
    found = torch.bincount(task.sample(8000, seed=0).lengths, minlength=5)[1:]
    # Half of the sequences of length 2 tie and a third of length 1; binomial, five sigma.
    assert (found - 2000).abs().max() < 5 * sqrt(8000 * 0.25 * 0.75)


def test_padding_starts_exactly_at_the_length() -> None:
    batch = categorical(3, length=8, min_length=2).sample(200, seed=0)
    valid = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
    assert torch.equal(batch.tokens != 0, valid)
    assert batch.lengths.min() == 2
    assert batch.tokens.shape[1] == batch.lengths.max() == 8


def test_one_length_fills_every_step_with_words_of_the_vocabulary() -> None:
    task = categorical(3, length=8)
    batch = task.sample(50, seed=0)
    assert batch.tokens.shape == (50, 8)
    assert (batch.lengths == 8).all()
    assert batch.tokens.min() == 0
    assert batch.tokens.max() == len(task.vocabulary) - 1
    assert batch.tokens.dtype == batch.lengths.dtype == batch.labels.dtype == torch.int64


def test_the_seed_decides_and_the_global_state_is_left_alone() -> None:
    task = categorical()
    before = torch.get_rng_state()
    first, again, other = (task.sample(20, seed=s).tokens for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.rand(3)
    assert torch.equal(task.sample(20, seed=5).tokens, first)


def test_a_generator_goes_on() -> None:
    task = categorical()
    generator = torch.Generator().manual_seed(5)
    first = task.sample(20, generator=generator).tokens
    assert torch.equal(first, task.sample(20, seed=5).tokens)
    assert not torch.equal(first, task.sample(20, generator=generator).tokens)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_classes": 1}, "n_classes is 1.*at least 2 classes"),
        ({"length": 0}, "length is 0.*at least 1"),
        ({"min_length": 0}, "min_length is 0 and length is 50.*from 1 to length"),
        ({"length": 5, "min_length": 6}, "min_length is 6 and length is 5"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        categorical(**arguments)


def test_checkpoints_know_a_task_by_its_repr_and_ties_make_another() -> None:
    sizes = "(n_classes=3, length=50, min_length=None, strong=False, against=False)"
    assert repr(categorical(3)) == f"Categorical{sizes}"
    assert repr(categorical(3, ties="first")) == f"CategoricalWithTies{sizes}"
    assert categorical(3) != categorical(3, ties="first")
    assert categorical(3, ties="first").name == "categorical-3-ties"


def test_other_ways_with_ties_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ties is 'last'\. Pass 'redrawn'"):
        categorical(ties="last")  # type: ignore[arg-type]


def test_sampling_without_explicit_randomness_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs explicit randomness\. Pass seed=0"):
        categorical().sample(5)
    with pytest.raises(ValueError, match="Both seed and generator"):
        categorical().sample(5, seed=0, generator=torch.Generator())
    with pytest.raises(ValueError, match="n is 0"):
        categorical().sample(0, seed=0)


def test_batch_gives_back_the_sequences_it_was_made_of() -> None:
    sequences = [torch.tensor([3, 4]), torch.tensor([5]), torch.tensor([6, 7, 8])]
    batch = Batch.from_sequences(sequences, torch.tensor([0, 1, 0]))
    assert batch.tokens.tolist() == [[3, 4, 0], [5, 0, 0], [6, 7, 8]]
    assert batch.lengths.tolist() == [2, 1, 3]
    assert len(batch) == 3
    assert [s.tolist() for s in batch.sequences()] == [s.tolist() for s in sequences]
