"""Uniform counts against enumeration."""

from itertools import permutations
from math import comb

import pytest
import torch
from uniformity import compositions, is_uniform

from dynprobe.tasks.counts import shuffled_words, uniform_counts


def rows(counts: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in counts.tolist()]


@pytest.mark.parametrize(("length", "n_words"), [(1, 2), (4, 3), (5, 4), (3, 5)])
def test_counts_are_uniform_over_all_compositions(length: int, n_words: int) -> None:
    possible = compositions(length, n_words)
    assert len(possible) == comb(length + n_words - 1, n_words - 1)
    generator = torch.Generator().manual_seed(length)
    counts = uniform_counts(torch.full((200 * len(possible),), length), n_words, generator)
    assert is_uniform(rows(counts), possible)


def test_the_chi_square_sees_that_independent_words_are_not_uniform() -> None:
    possible = compositions(4, 3)
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(3, (200 * len(possible), 4), generator=generator)
    counts = torch.stack([(words == k).sum(1) for k in range(3)], dim=1)
    assert not is_uniform(rows(counts), possible)


def test_each_length_has_its_own_uniform_counts() -> None:
    lengths = torch.tensor([2, 4]).repeat_interleave(4000)
    counts = uniform_counts(lengths, 3, torch.Generator().manual_seed(0))
    assert is_uniform(rows(counts[:4000]), compositions(2, 3))
    assert is_uniform(rows(counts[4000:]), compositions(4, 3))


def test_words_come_in_every_order_equally_often() -> None:
    counts = torch.tensor([[1, 0, 1, 1]]).expand(3000, -1).contiguous()
    words = shuffled_words(counts, torch.Generator().manual_seed(0))
    assert is_uniform(rows(words), list(permutations([0, 2, 3])))


def test_words_have_the_counts_and_end_with_the_mark_past_the_last_word() -> None:
    counts = torch.tensor([[2, 0, 1], [0, 3, 2], [1, 0, 0]])
    words = shuffled_words(counts, torch.Generator().manual_seed(0))
    assert words.shape == (3, 5)
    for row, count in zip(words, counts, strict=True):
        length = int(count.sum())
        assert torch.equal(torch.bincount(row[:length], minlength=3), count)
        assert (row[length:] == 3).all()
