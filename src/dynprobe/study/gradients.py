"""Gradients of all members on one batch, and the same as one piece of work for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dynprobe.study.members import Members, StackedModels
from dynprobe.study.method import Method, trained_parameters
from dynprobe.tasks.batch import Batch

Gradients = Callable[[Batch], Tensor]


def gradients_on(device: torch.device, members: Members, method: Method) -> Gradients:
    """What puts each member's clipped gradient into the parameters.

    It is called with what ``members.gather`` returned, on the CPU, and returns the loss of each
    member, ``(members,)``.
    """

    def here(batch: Batch) -> Tensor:
        batch = batch.to(device)
        return _gradients(members, method, lambda: members.losses(batch))

    if device.type == "cuda" and isinstance(members, StackedModels):
        return Recorded(members, method, device, here)
    return here


class Recorded:
    """Gradients of a stack as a CUDA graph: recorded on the first batch, then started as one.

    A step's many small kernels each take longer to start than to run. Only batches without
    padding, of the shape of the first one, are done so; any other kernel by kernel. Words and
    lengths are checked on the CPU, where that does not wait for the device.

    Parameters
    ----------
    members, method
        What is trained, and how.
    device
        A GPU.
    otherwise
        For other batches.
    """

    def __init__(
        self, members: StackedModels, method: Method, device: torch.device, otherwise: Gradients
    ) -> None:
        self.members, self.method, self.device = members, method, device
        self.otherwise = otherwise
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch) -> Tensor:
        if not self.members.check(batch):
            return self.otherwise(batch)
        if self.graph is None:
            self._record(batch)
        if batch.tokens.shape != self.batch.tokens.shape:
            return self.otherwise(batch)
        self.batch.tokens.copy_(batch.tokens)
        self.batch.labels.copy_(batch.labels)
        # Another batch may have put its own gradients there.
        for parameter, grad in zip(self.parameters, self.grads, strict=True):
            parameter.grad = grad
        assert self.graph is not None
        with torch.cuda.device(self.device):
            self.graph.replay()
        return self.losses

    def _record(self, batch: Batch) -> None:
        self.batch = batch.to(self.device)
        stack = self.members.module
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            # what is done once at first use must not be recorded
            for _ in range(3):
                self._once()
        torch.cuda.current_stream(self.device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        # The graph goes on writing where it wrote while recorded: that memory is its own.
        stack.forget_buffers()
        self.method.optimizer.zero_grad()
        # by itself it would record on a stream of whichever device came first
        stream = torch.cuda.Stream(self.device)
        with torch.cuda.device(self.device), torch.cuda.graph(self.graph, stream=stream):
            self.losses = self._once()
        stack.forget_buffers()
        self.parameters = trained_parameters(stack)
        self.grads: Sequence[Tensor | None] = [p.grad for p in self.parameters]

    def _once(self) -> Tensor:
        whole = self.members.losses_of_whole
        return _gradients(self.members, self.method, lambda: whole(self.batch))


def _gradients(members: Members, method: Method, losses_of: Callable[[], Tensor]) -> Tensor:
    parameters = trained_parameters(members.module)
    losses = losses_of()
    if method.penalty is not None:
        losses = losses + method.penalty([members.rows(parameter) for parameter in parameters])
    method.optimizer.zero_grad()
    # Members share no parameter: the gradient of the sum is each one's own.
    torch.autograd.backward(losses.sum())
    clip_gradients(members, parameters, method.clip)
    return losses.detach()


@torch.no_grad()
def clip_gradients(members: Members, parameters: Sequence[Tensor], clip: float) -> None:
    """Scale each member's gradient down to a total norm of `clip`, as torch's clip_grad_norm_."""
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = [torch.linalg.vector_norm(members.rows(grad), dim=1) for grad in grads]
    total = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    factors = (clip / (total + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(members.along(factors, grad))
