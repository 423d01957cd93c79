"""Checks of estimators' settings, made when they are fitted as scikit-learn wants it."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

from dynprobe.errors import ParameterError


def whole(name: str, value: Any, least: int) -> int:
    """Return `value` as an int of at least `least`, or raise ParameterError."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ParameterError(f"{name} is {value!r}; give a whole number of at least {least}.")
    return int(value)


def within(name: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float with low <= value < high, or raise ParameterError."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not low <= float(value) < high:
        raise ParameterError(f"{name} is {value!r}; give a number from {low} to below {high}.")
    return float(value)


def one_of(name: str, value: Any, known: Sequence[str]) -> str:
    """Return `value` if it is one of `known`, or raise ParameterError."""
    if value not in known:
        raise ParameterError(f"{name} is {value!r}; give {' or '.join(map(repr, known))}.")
    return str(value)
