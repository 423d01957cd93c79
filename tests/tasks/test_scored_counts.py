"""Counts with a chosen score against enumeration."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from uniformity import compositions, is_uniform

from dynprobe.tasks.scored_counts import ScoredCounts

value_lists = st.lists(st.integers(-3, 3), min_size=2, max_size=4)


@settings(max_examples=40, deadline=None)
@given(value_lists, st.integers(1, 6))
def test_scores_are_those_that_some_counts_have(values: list[int], length: int) -> None:
    table = ScoredCounts(values, length)
    for words in range(length + 1):
        possible = {
            sum(n * v for n, v in zip(counts, values, strict=True))
            for counts in compositions(words, len(values))
        }
        assert table.scores[words, : table.n_scores[words]].tolist() == sorted(possible)


@settings(max_examples=60, deadline=None)
@given(value_lists, st.integers(1, 7), st.data())
def test_drawn_counts_have_their_length_and_score(
    values: list[int], length: int, data: st.DataObject
) -> None:
    table = ScoredCounts(values, length)
    pairs = [(n, int(s)) for n in range(length + 1) for s in table.scores[n, : table.n_scores[n]]]
    lengths, scores = torch.tensor(pairs * 5).T
    seed = data.draw(st.integers(0, 999))
    counts = table.draw(lengths, scores, torch.Generator().manual_seed(seed))
    assert counts.min() >= 0
    assert torch.equal(counts.sum(1), lengths)
    assert torch.equal(counts @ torch.tensor(values), scores)


@pytest.mark.parametrize(
    ("values", "length", "score"),
    [
        ([1, -1, 0], 8, 0),
        ([2, 1, 0, -1, -2, 0], 4, 1),
        ([-3, -1, 1, 3, 0], 5, -3),
        ([1, 1, 0], 5, 2),
        ([-1, -2, -1], 5, -7),
        ([19, -18, 3, 0], 6, 20),
    ],
)
def test_counts_of_one_score_are_uniform(values: list[int], length: int, score: int) -> None:
    possible = [
        counts
        for counts in compositions(length, len(values))
        if sum(n * v for n, v in zip(counts, values, strict=True)) == score
    ]
    n = 300 * len(possible)
    counts = ScoredCounts(values, length + 3).draw(
        torch.full((n,), length), torch.full((n,), score), torch.Generator().manual_seed(0)
    )
    drawn = [tuple(row) for row in counts.tolist()]
    assert set(drawn) == set(possible)
    if len(possible) > 1:
        assert is_uniform(drawn, possible)


def test_mixed_lengths_and_scores_do_not_disturb_each_other() -> None:
    table = ScoredCounts([1, -1, 0], 6)
    lengths, scores = torch.tensor([[4, 0], [6, 3]]).repeat_interleave(1500, dim=0).T
    counts = table.draw(lengths, scores, torch.Generator().manual_seed(0))
    found = Counter(tuple(row) for row in counts[:1500].tolist())
    assert set(found) == {(0, 0, 4), (1, 1, 2), (2, 2, 0)}
    assert min(found.values()) > 400
    assert set(map(tuple, counts[1500:].tolist())) == {(3, 0, 3), (4, 1, 1)}
