"""Watching dynamics while a model trains: in a loop of your own, in a Trainer, in Lightning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynprobe.callbacks.history import Measurement
    from dynprobe.callbacks.lightning import LightningCallback
    from dynprobe.callbacks.tracker import Tracker
    from dynprobe.callbacks.trainer import TrainerCallback

# imported on first use: a loop of one's own needs neither transformers nor Lightning
_LAZY = {
    "LightningCallback": "dynprobe.callbacks.lightning",
    "Measurement": "dynprobe.callbacks.history",
    "Tracker": "dynprobe.callbacks.tracker",
    "TrainerCallback": "dynprobe.callbacks.trainer",
}

__all__ = ["LightningCallback", "Measurement", "Tracker", "TrainerCallback"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dynprobe.callbacks' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
