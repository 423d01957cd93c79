"""A private copy of a transformers model to step with, and float64 all the way through it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def twin(model: nn.Module) -> nn.Module:
    """A copy of the modules on the same parameters and buffers, in eval mode.

    It takes over neither the training mode nor the hooks of a probe, and computes attention and
    experts in plain products: the fused kernels know no float64.
    """
    memo: dict[int, Any] = {
        id(value): value.detach().clone()  # a tensor with a graph cannot be copied otherwise
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor)
    }
    memo |= {id(t): t for t in [*model.parameters(), *model.buffers()]}
    made: Any = copy.deepcopy(model, memo)
    for name in ("set_attn_implementation", "set_experts_implementation"):
        if hasattr(made, name):
            getattr(made, name)("eager")
    return cast(nn.Module, made.eval())


class Float64(TorchFunctionMode):
    """Computes in float64 where a model asks for float32, as most do for states and norms."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()

        def wide(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        return func(*map(wide, args), **{k: wide(v) for k, v in (kwargs or {}).items()})
