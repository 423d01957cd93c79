"""Whether draws are uniform over what is possible."""

from collections import Counter
from itertools import product
from math import sqrt


def compositions(length: int, n_words: int) -> list[tuple[int, ...]]:
    return [c for c in product(range(length + 1), repeat=n_words) if sum(c) == length]


def is_uniform(drawn: list[tuple[int, ...]], possible: list[tuple[int, ...]]) -> bool:
    """Chi-square within five standard deviations of its mean under uniformity."""
    found = Counter(drawn)
    assert set(found) <= set(possible)
    expected = len(drawn) / len(possible)
    assert expected >= 20, "too few draws for a chi-square"
    statistic = sum((found[c] - expected) ** 2 / expected for c in possible)
    freedom = len(possible) - 1
    return abs(statistic - freedom) < 5 * sqrt(2 * freedom)
