"""The kernels by name, and which of them "auto" is."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynprobe.errors import BackendError, suggest

Kernel = Callable[..., tuple[Tensor, Tensor]]

_PACKAGE = "dynprobe.nn.linear_attention"
# Imported when used: triton and fla cost seconds, and may not be there.
_KERNELS = {
    "reference": (f"{_PACKAGE}.reference", "reference_attention"),
    "torch": (f"{_PACKAGE}.chunked", "chunked_attention"),
    "triton": (f"{_PACKAGE}.fused", "fused_attention"),
    "fla": (f"{_PACKAGE}.fla", "fla_attention"),
}
_log = logging.getLogger(__name__)


def linear_attention_backend(q: Tensor, backend: str = "auto") -> str:
    """Name the backend :func:`~dynprobe.nn.causal_linear_attention` uses for inputs like `q`.

    "auto" is "triton" for CUDA tensors up to float32 where triton is installed, otherwise
    "torch". The choice is also logged at level INFO, once, under ``dynprobe.nn``.

    Raises
    ------
    BackendError
        If `backend` is unknown, not installed, or cannot run where `q` is.
    """
    if backend != "auto":
        if backend not in _KERNELS:
            raise BackendError(
                f"There is no backend {backend!r}. {suggest(backend, [*_KERNELS, 'auto'])}"
            )
        _check(backend, q)
        return backend
    fused = q.device.type == "cuda" and q.dtype != torch.float64 and _installed("triton")
    return "triton" if fused else "torch"


def choose(q: Tensor, backend: str) -> str:
    """As :func:`linear_attention_backend`, and log what "auto" came to."""
    name = linear_attention_backend(q, backend)
    if backend == "auto" and not torch.compiler.is_compiling():
        _say_once(name, q.device.type)
    return name


def load(name: str) -> Kernel:
    """Import a kernel."""
    module, function = _KERNELS[name]
    kernel: Kernel = getattr(importlib.import_module(module), function)
    return kernel


def _check(name: str, q: Tensor) -> None:
    if name == "triton":
        if not _installed("triton"):
            raise BackendError("backend='triton' needs the package triton: pip install triton.")
        if q.dtype == torch.float64:
            raise BackendError("The triton backend has no float64; use backend='torch'.")
        if q.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            raise BackendError(
                f"q is on {q.device}; the triton backend needs a CUDA device (or "
                "TRITON_INTERPRET=1 in the environment, to test it without one)."
            )
    if name == "fla":
        if not _installed("fla"):
            raise BackendError("backend='fla' needs fla-core >= 0.5.1: pip install fla-core.")
        if q.device.type == "cpu":
            raise BackendError("q is on cpu; the fla backend needs a GPU. Use backend='torch'.")


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


_said: set[tuple[str, str]] = set()


def _say_once(*choice: Any) -> None:
    if choice not in _said:
        _said.add(choice)
        _log.info("Linear attention on %s uses the %s backend.", choice[1], choice[0])
