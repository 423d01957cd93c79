"""Models whose parameters lie in pieces on several processes."""

from __future__ import annotations

from torch import nn
from torch.distributed.tensor import DTensor


def is_sharded(model: nn.Module) -> bool:
    """Whether one process alone cannot run the model: FSDP, tensor parallel, DeepSpeed ZeRO-3."""
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return True
    return any(isinstance(p, DTensor) or hasattr(p, "ds_id") for p in model.parameters())


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, whose own forward waits for other processes."""
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        inner: nn.Module = model.module
        return inner
    return model
