"""The kernels by name, and which of them "auto" is."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynprobe.errors import BackendError, suggest
from dynprobe.nn.linear_attention.chunked import chunked_attention
from dynprobe.nn.linear_attention.reference import reference_attention

Kernel = Callable[..., tuple[Tensor, Tensor]]

_NAMES = ("reference", "torch", "triton", "fla", "auto")
_INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("triton", "fla")}
# Of features and values in the triton backend: what a program can hold.
WIDEST = 256
_log = logging.getLogger(__name__)


def linear_attention_backend(q: Tensor, v: Tensor, backend: str = "auto") -> str:
    """Name the backend :func:`~dynprobe.nn.causal_linear_attention` uses for these.

    "auto" is "triton" for CUDA tensors up to float32 and 256 wide where triton is installed,
    otherwise "torch". The choice is also logged at level INFO, once, under ``dynprobe.nn``.

    Raises
    ------
    BackendError
        If `backend` is unknown, not installed, or cannot run where `q` is.
    """
    if backend != "auto":
        if backend not in _NAMES:
            raise BackendError(f"There is no backend {backend!r}. {suggest(backend, _NAMES)}")
        _check(backend, q, v)
        return backend
    fused = q.device.type == "cuda" and q.dtype != torch.float64 and _INSTALLED["triton"]
    return "triton" if fused and max(q.shape[-1], v.shape[-1]) <= WIDEST else "torch"


def choose(q: Tensor, v: Tensor, backend: str) -> str:
    """As :func:`linear_attention_backend`, and log what "auto" came to."""
    name = linear_attention_backend(q, v, backend)
    if backend == "auto" and not torch.compiler.is_compiling():
        _say_once(name, q.device.type)
    return name


def load(name: str) -> Kernel:
    """Return a kernel; triton and fla cost seconds to import, and only those who use them pay."""
    if name == "triton":
        from dynprobe.nn.linear_attention.fused import fused_attention

        return fused_attention
    if name == "fla":
        from dynprobe.nn.linear_attention.fla import fla_attention

        return fla_attention
    return reference_attention if name == "reference" else chunked_attention


def _check(name: str, q: Tensor, v: Tensor) -> None:
    if name == "triton":
        if max(q.shape[-1], v.shape[-1]) > WIDEST:
            raise BackendError(
                f"Features are {q.shape[-1]} wide and values {v.shape[-1]}; the triton backend "
                f"takes up to {WIDEST}. Use backend='torch'."
            )
        if not _INSTALLED["triton"]:
            raise BackendError("backend='triton' needs the package triton: pip install triton.")
        if q.dtype == torch.float64:
            raise BackendError("The triton backend has no float64; use backend='torch'.")
        if q.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            raise BackendError(
                f"q is on {q.device}; the triton backend needs a CUDA device (or "
                "TRITON_INTERPRET=1 in the environment, to test it without one)."
            )
    if name == "fla":
        if not _INSTALLED["fla"]:
            raise BackendError("backend='fla' needs fla-core >= 0.5.1: pip install fla-core.")
        if q.device.type == "cpu":
            raise BackendError("q is on cpu; the fla backend needs a GPU. Use backend='torch'.")


_said: set[tuple[str, str]] = set()


def _say_once(*choice: Any) -> None:
    if choice not in _said:
        _said.add(choice)
        _log.info("Linear attention on %s uses the %s backend.", choice[1], choice[0])
