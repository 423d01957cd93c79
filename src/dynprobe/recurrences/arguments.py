"""Arguments of a module's forward by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn


def bound_arguments(
    module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """What was given, by the names of forward's parameters, ``**kwargs`` among them.

    Raises
    ------
    TypeError
        If the arguments do not fit the signature.
    """
    bound = _signature(module).bind_partial(*args, **kwargs)
    given = dict(bound.arguments)
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given |= given.pop(name, {})
    return given


def parameter_names(module: nn.Module) -> list[str]:
    """Names of forward's parameters, in order."""
    return list(_signature(module).parameters)


def _signature(module: nn.Module) -> inspect.Signature:
    if "forward" in module.__dict__:  # replaced on the instance
        return inspect.signature(module.forward)
    cls = type(module)
    if cls not in _SIGNATURES:
        signature = inspect.signature(cls.forward)
        without_self = list(signature.parameters.values())[1:]
        _SIGNATURES[cls] = signature.replace(parameters=without_self)
    return _SIGNATURES[cls]


#: Looked up once a class: it takes longer than a hook may.
_SIGNATURES: WeakKeyDictionary[type, inspect.Signature] = WeakKeyDictionary()
