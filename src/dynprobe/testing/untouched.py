"""Whether something that should only be looked at has been changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dynprobe.recording import Recording

_OF_A_RECORDING = ("kept", "inputs", "initial", "tokens", "labels", "logits", "steps", "lengths")


def of_recording(recording: Recording) -> dict[str, Any]:
    """Copies of everything in a recording."""
    return {name: _copy(getattr(recording, name)) for name in _OF_A_RECORDING} | {
        "meta": recording.meta,
        "readout": recording.readout,
    }


def of_module(module: nn.Module | None) -> dict[str, Any]:
    """Copies of parameters and buffers, what autograd knows of them, mode and hooks."""
    if module is None:
        return {}
    seen: dict[str, Any] = {}
    for name, p in (*module.named_parameters(), *module.named_buffers()):
        seen |= {
            f"the values of {name}": _copy(p),
            f"the dtype of {name}": p.dtype,
            f"requires_grad of {name}": p.requires_grad,
            f"the gradient of {name}": _copy(p.grad),
        }
    for name, m in module.named_modules():
        where = f"of {name or 'the module'}"
        seen[f"the training mode {where}"] = m.training
        seen[f"the hooks {where}"] = len(m._forward_hooks) + len(m._forward_pre_hooks)
    return seen


def of_process() -> dict[str, Any]:
    """Random states and settings that everything in the process shares."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch's random state": torch.get_rng_state(),
        "numpy's random state": (kind, torch.as_tensor(np.asarray(keys).astype(np.int64)), *rest),
        "Python's random state": random.getstate(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what is no longer the same, bit for bit."""
    return [name for name in before if not _same(before[name], after.get(name))]


@contextmanager
def drawn_elsewhere(seed: int) -> Iterator[None]:
    """Global random states that nobody expects, put back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | (a != a)).all())
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a is b or bool(a == b)
