"""The numbers in a result, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from torch import Tensor

#: Larger tensors are data and not measures: they stay in the result.
LARGEST = 64


def numbers(result: Any, *, tensors: bool = True) -> dict[str, float]:
    """Every number of a result: its fields, and fields of fields with a dot between the names.

    Properties that are numbers count as fields. Entries of tensors, lists and tuples of at most 64
    numbers are called ``name[0]``, ``name[0, 1]``; larger ones, complex numbers and texts are left
    out.

    Parameters
    ----------
    result : dataclass or mapping
        The result.
    tensors : bool
        Whether entries of tensors, lists and tuples are wanted.
    """
    return dict(_walk("", result, tensors))


def _walk(name: str, value: Any, tensors: bool) -> Iterator[tuple[str, float]]:
    if isinstance(value, bool | int | float | np.integer | np.floating):
        yield name, float(value)
    elif isinstance(value, Tensor | np.ndarray):
        if not _numeric(value):
            return
        if value.ndim == 0:
            yield name, float(value)
        elif tensors and 0 < int(np.prod(value.shape)) <= LARGEST:
            for index in product(*map(range, value.shape)):
                yield f"{name}[{', '.join(map(str, index))}]", float(value[index])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _walk(_join(name, field.name), getattr(value, field.name), tensors)
        if not name:
            yield from _properties(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(_join(name, str(key)), item, tensors)
    elif tensors and isinstance(value, list | tuple) and len(value) <= LARGEST:
        for i, item in enumerate(value):
            yield from _walk(f"{name}[{i}]", item, tensors)


def _properties(result: Any) -> Iterator[tuple[str, float]]:
    """Short cuts that a result offers, such as ``participation_ratio``."""
    for name in dir(type(result)):
        if name.startswith("_") or not isinstance(getattr(type(result), name), property):
            continue
        try:
            value = getattr(result, name)
        except Exception:  # one that does not apply to this result
            continue
        if isinstance(value, bool | int | float):
            yield name, float(value)


def _numeric(value: Tensor | np.ndarray[Any, Any]) -> bool:
    if isinstance(value, Tensor):
        return not value.is_complex()
    return value.dtype.kind in "biuf"


def _join(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part
