"""Forward hooks that only look.

A hook is an object, not a closure, so that copying or pickling a probed model neither copies the
probe nor fails: the copy carries an inert hook. It holds the probe's callback weakly, so a model
never keeps a probe alive.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class Hook:
    """Calls a bound method of a living object for one module, and nothing for copies of it."""

    def __init__(self, method: Callable[..., None], module: nn.Module | None, key: str) -> None:
        self._method = weakref.WeakMethod(method)
        self._module = None if module is None else weakref.ref(module)
        self._key = key

    def __call__(self, module: nn.Module, *call: Any) -> None:
        if torch.compiler.is_compiling():
            return  # traced as nothing: what is recorded must come from a real call
        method = self._method()
        if method is not None and self._module is not None and self._module() is module:
            method(self._key, module, *call)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return inert

    def __reduce__(self) -> tuple[Callable[[], Callable[..., None]], tuple[()]]:
        return _inert, ()


def inert(*_: Any) -> None:
    """Do nothing: what a hook becomes in a copy of the model."""


def _inert() -> Callable[..., None]:
    return inert


class Handles:
    """Registered hooks, removed together and only once."""

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def before(self, module: nn.Module, method: Callable[..., None], key: str) -> None:
        """Call ``method(key, module, args, kwargs)`` before each forward."""
        hook = Hook(method, module, key)
        self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def after(
        self, module: nn.Module, method: Callable[..., None], key: str, *, always: bool = False
    ) -> None:
        """Call ``method(key, module, args, kwargs, output)`` after each forward.

        With `always`, after one that raised too.
        """
        hook = Hook(method, module, key)
        self._handles.append(
            module.register_forward_hook(hook, with_kwargs=True, always_call=always)
        )

    def remove(self) -> None:
        """Take every hook off."""
        while self._handles:
            self._handles.pop().remove()
