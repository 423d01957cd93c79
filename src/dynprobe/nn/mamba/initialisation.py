"""Initial weights of Mamba-1, as Hugging Face transformers draws them, from a generator."""

from __future__ import annotations

from math import log, sqrt
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from dynprobe.nn.mamba.mixer import MambaMixer

#: Standard deviation of embeddings and linear layers.
STD = 0.1
#: Range of the step sizes that an input of zero gives.
DT_MIN, DT_MAX = 1e-3, 0.1


@torch.no_grad()
def mixer_weights(mixer: MambaMixer, generator: torch.Generator) -> None:
    """Draw a mixer's weights in place.

    A = -(1, ..., N) in every channel and D = 1 (Gu & Dao 2023, section 3.6); the bias of dt is the
    inverse softplus of a step size whose logarithm is uniform in [1e-3, 0.1], its weight uniform
    up to 1 / sqrt(rank). `in_proj` and `x_proj` are normal with standard deviation 0.1, `conv1d`
    and `out_proj` uniform up to 1 / sqrt(fan-in), the convolution's bias is 0.
    """
    inner, n = mixer.A_log.shape
    mixer.A_log.copy_(torch.arange(1, n + 1).log().expand(inner, n))
    mixer.D.fill_(1.0)
    draw = torch.rand(inner, generator=generator)
    dt = (draw * (log(DT_MAX) - log(DT_MIN)) + log(DT_MIN)).exp()
    mixer.dt_proj.bias.copy_(dt + (-torch.expm1(-dt)).log())
    _uniform(mixer.dt_proj.weight, generator)
    normal(mixer.in_proj, generator)
    normal(mixer.x_proj, generator)
    _uniform(mixer.conv1d.weight, generator)
    assert mixer.conv1d.bias is not None
    mixer.conv1d.bias.zero_()
    _uniform(mixer.out_proj.weight, generator)


@torch.no_grad()
def normal(layer: nn.Linear | nn.Embedding, generator: torch.Generator) -> None:
    """Draw the weight of an embedding or a linear layer in place; a padding row stays zero."""
    layer.weight.normal_(0.0, STD, generator=generator)
    if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
        layer.weight[layer.padding_idx] = 0.0


def _uniform(weight: torch.Tensor, generator: torch.Generator) -> None:
    bound = 1 / sqrt(weight[0].numel())
    weight.uniform_(-bound, bound, generator=generator)
