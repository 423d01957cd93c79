"""Models that are spread over processes: which of them one process can run, and what of it."""

from __future__ import annotations

from torch import nn
from torch.distributed.tensor import DTensor

from dynprobe.capture.select import unwrap


def is_sharded(model: nn.Module) -> bool:
    """Whether one process alone cannot run the model: FSDP, tensor parallel, DeepSpeed ZeRO-3."""
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return True
    return any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own model, that one process can run: the wrappers' forward may wait for others."""
    if isinstance(model, nn.DataParallel):
        model = model.module
    return unwrap(model)[0]
