"""Compiled models: a hook inside may silently not fire, so recorded calls run eagerly.

Only while they are recorded: the compiled code stays, and runs again after detach().
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from dynprobe.capture.hooks import Handles
from dynprobe.errors import RecordingWarning

WRAPPED = "_orig_mod"


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is the wrapper that ``torch.compile(module)`` returns."""
    return type(module).__name__ == "OptimizedModule" and WRAPPED in module._modules


def own_name(name: str) -> str:
    """A dotted name as it would be without compiled wrappers on the way."""
    return ".".join(part for part in name.split(".") if part != WRAPPED)


class EagerCalls:
    """While it is on, calls of compiled modules run their own Python code.

    Parameters
    ----------
    wrappers : iterable of nn.Module
        Modules that ``torch.compile(module)`` returned: the stance "force_eager" is set before
        each of their calls and taken back after it.
    model : nn.Module
        Its submodules that ``module.compile()`` compiled in place are called uncompiled.
    """

    def __init__(self, wrappers: Iterable[nn.Module], model: nn.Module) -> None:
        self._handles = Handles()
        self._local = threading.local()
        self._warned = False
        self._in_place: list[nn.Module] = []
        for module in wrappers:
            self._handles.before(module, self._enter, "")
            self._handles.after(module, self._exit, "", always=True)
        for module in model.modules():
            if _suspend(module):
                self._in_place.append(module)
        if self._in_place:
            self._warn()

    def remove(self) -> None:
        """Compiled calls are compiled again."""
        self._handles.remove()
        while self._in_place:
            _resume(self._in_place.pop())
        while self._stances:  # Ctrl-C skips the hook that takes a stance back
            self._stances.pop().__exit__(None, None, None)

    def _enter(self, *_: Any) -> None:
        stance = torch.compiler.set_stance("force_eager")
        stance.__enter__()
        self._stances.append(stance)
        self._warn()

    def _exit(self, *_: Any) -> None:
        if self._stances:
            self._stances.pop().__exit__(None, None, None)

    @property
    def _stances(self) -> list[Any]:
        """Stances set in this thread and not taken back."""
        if not hasattr(self._local, "stances"):
            self._local.stances = []
        stances: list[Any] = self._local.stances
        return stances

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                "The model is compiled, and hooks inside compiled code may not fire: while the "
                "probe is attached its calls run eagerly (slower, and rounded as the eager model "
                "rounds). The compiled code is used again after detach().",
                RecordingWarning,
                stacklevel=2,
            )


#: Modules compiled in place that probes have suspended: how many, and the compiled call.
_SUSPENDED: WeakKeyDictionary[nn.Module, tuple[int, Any]] = WeakKeyDictionary()
_LOCK = threading.Lock()


def _suspend(module: nn.Module) -> bool:
    """Call a module that ``module.compile()`` compiled uncompiled; False if it is not one."""
    with _LOCK:
        users, compiled = _SUSPENDED.get(module, (0, module.__dict__.get("_compiled_call_impl")))
        if compiled is None:
            return False
        _SUSPENDED[module] = (users + 1, compiled)
        module._compiled_call_impl = None
        return True


def _resume(module: nn.Module) -> None:
    """Count one user less; the last one gives the compiled call back."""
    with _LOCK:
        users, compiled = _SUSPENDED[module]
        if users > 1:
            _SUSPENDED[module] = (users - 1, compiled)
            return
        del _SUSPENDED[module]
        if module._compiled_call_impl is None:
            module._compiled_call_impl = compiled
