"""The linear readout of a state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynprobe.errors import ReadoutError


@dataclass(frozen=True)
class Readout:
    """logits = state @ weight.T + bias.

    Attributes
    ----------
    weight : Tensor
        (classes, state_dim), in the coordinates of the full state: columns of parts that the
        readout does not read are zero.
    bias : Tensor or None
        (classes,).
    name : str
        Where it comes from, for labels and messages.
    """

    weight: Tensor
    bias: Tensor | None = None
    name: str = "readout"

    def __post_init__(self) -> None:
        if self.weight.dim() != 2:
            raise ReadoutError(
                f"A readout's weight has shape (classes, state_dim), got "
                f"{tuple(self.weight.shape)}."
            )
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            raise ReadoutError(
                f"The readout {self.name!r} has weight {tuple(self.weight.shape)} but bias "
                f"{tuple(self.bias.shape)}; the bias needs one number per class."
            )

    @property
    def n_classes(self) -> int:
        """Number of logits."""
        return self.weight.shape[0]

    def __call__(self, states: Tensor) -> Tensor:
        """Logits of (..., state_dim) states, (..., classes)."""
        weight = self.weight.to(states)
        logits = states @ weight.T
        return logits if self.bias is None else logits + self.bias.to(states)

    def centred(self) -> Tensor:
        """Weights without their mean over classes, which no softmax can see, in float64."""
        weight = self.weight.detach().to("cpu", torch.float64)
        return weight - weight.mean(0)
