"""Gradients through elementwise functions by their values, written into given memory."""

from __future__ import annotations

import torch
from torch import Tensor


def through_sigmoid(grad: Tensor, value: Tensor, out: Tensor) -> None:
    """grad * s (1 - s) for s = `value` of the sigmoid; `out` may be either of the two."""
    torch.ops.aten.sigmoid_backward.grad_input(grad, value, grad_input=out)


def through_tanh(grad: Tensor, value: Tensor, out: Tensor) -> None:
    """grad * (1 - y^2) for y = `value` of tanh; `out` may be either of the two."""
    torch.ops.aten.tanh_backward.grad_input(grad, value, grad_input=out)
