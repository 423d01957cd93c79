"""Accumulators of the ranks of a torch.distributed job, merged."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch.distributed as dist

from dynprobe.analyzers.base import StreamingAnalyzer
from dynprobe.errors import DistributedError

#: Backends that move what lies in memory without a detour through an accelerator.
_ON_CPU = ("gloo", "mpi")


def merge(analyzer: StreamingAnalyzer, acc: Any, group: dist.ProcessGroup | None = None) -> Any:
    """Merge the accumulators of all ranks, in the order of their ranks.

    Every rank of the group must call it, and gets the same accumulator: an empty one where the
    rank has seen nothing, ``analyzer.init(meta)``.

    Parameters
    ----------
    analyzer : StreamingAnalyzer
        Whose accumulators they are.
    acc : object
        This rank's; anything that can be pickled. It is pickled and read by the ranks of this job
        alone, never from a file.
    group : ProcessGroup, optional
        Which ranks; all by default.

    Raises
    ------
    DistributedError
        If there is no process group.
    """
    return reduce(analyzer.merge, gather(acc, group))


def gather(value: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Values of all ranks of a group, by rank; they never touch an accelerator.

    Raises
    ------
    DistributedError
        If there is no process group.
    """
    if not dist.is_available() or not dist.is_initialized():
        raise DistributedError(
            "There is no process group to merge over. Start the script with torchrun or "
            "accelerate launch, and call torch.distributed.init_process_group() first; in a "
            "single process leave the group out."
        )
    own = None
    if dist.get_backend(group) not in _ON_CPU:
        # all_gather_object would copy everything to the device and back
        own = dist.new_group(
            dist.get_process_group_ranks(group or dist.group.WORLD),
            backend="gloo",
            use_local_synchronization=True,
        )
    try:
        values: list[Any] = [None] * dist.get_world_size(own or group)
        dist.all_gather_object(values, value, group=own or group)
    finally:
        if own is not None:
            dist.destroy_process_group(own)
    return values
