"""Autocast is for the observed model, not for what is computed beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def full_precision(function: Callable[..., Result]) -> Callable[..., Result]:
    """Run a function as it would run outside of autocast."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Result:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    return wrapped
