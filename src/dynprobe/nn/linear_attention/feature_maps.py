"""Feature maps phi >= 0: what makes a kernel out of a dot product, phi(q) . phi(k).

The elementwise maps also give their slope dphi/dx as a function of phi alone, so that a kernel
can recompute phi from the input and needs nothing else for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynprobe.errors import FeatureMapError, UnknownNameError, suggest


@dataclass(frozen=True)
class ElementwiseMap:
    """An elementwise map phi and its slope.

    Parameters
    ----------
    name : str
        Its key in :data:`FEATURE_MAPS`.
    apply : callable
        x -> phi(x), elementwise.
    slope : callable
        phi -> dphi/dx at the x that gave it.
    absent : float
        An x where phi and its slope are 0: what a masked key is set to.
    """

    name: str
    apply: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    absent: float = -math.inf

    def __call__(self, x: Tensor) -> Tensor:
        return self.apply(x)


def elu_plus_one(x: Tensor) -> Tensor:
    """elu(x) + 1 (Katharopoulos et al. 2020, eq. 7): 1 + x above zero, exp(x) below.

    Not ``F.elu(x) + 1``: there exp(x) - 1 + 1 is exactly zero in float32 below x = -17.3, and the
    denominator of the attention with it.
    """
    low = x.clamp(max=0).exp()
    if torch.is_grad_enabled():
        return low + x.relu()
    return low.add_(x.relu())  # a tile's worth of memory less, and a quarter of the time


IDENTITY = ElementwiseMap("identity", lambda x: x, torch.ones_like, absent=0.0)

FEATURE_MAPS = {
    m.name: m
    for m in (
        ElementwiseMap("elu", elu_plus_one, lambda phi: phi.clamp(max=1)),
        ElementwiseMap("relu", torch.relu, lambda phi: (phi > 0).to(phi.dtype)),
        ElementwiseMap("squared_relu", lambda x: x.relu().square(), lambda phi: 2 * phi.sqrt()),
    )
}


class FavorFeatures(nn.Module):
    """Positive random features of the softmax kernel (FAVOR+, Choromanski et al. 2021, lemma 1).

    phi(x) = exp(W s x - |s x|^2 / 2) / sqrt(n_features), so that E[phi(q) . phi(k)] =
    exp(s^2 q . k). No running maximum is subtracted: one over time would let a token see the
    future. The exponent is at most half the squared length of a row of W, about dim / 2.

    Parameters
    ----------
    dim : int
        Width of q and k.
    n_features : int
        Rows of W; drawn orthogonal in blocks of `dim`, with the lengths of Gaussian vectors.
    generator : torch.Generator
        For W. There is no default: the features are part of the model.
    scale : float, optional
        s; ``dim ** -0.25`` by default, which is softmax attention at its usual temperature.
    """

    projection: Tensor

    def __init__(
        self,
        dim: int,
        n_features: int,
        *,
        generator: torch.Generator,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.scale = dim**-0.25 if scale is None else scale
        blocks = []
        for _ in range(math.ceil(n_features / dim)):
            gaussian = torch.randn(
                dim, dim, generator=generator, dtype=torch.float64, device=generator.device
            )
            lengths = torch.randn(
                dim, dim, generator=generator, dtype=torch.float64, device=generator.device
            ).norm(dim=1)
            q, r = torch.linalg.qr(gaussian)
            # QR fixes the signs of R's diagonal; undoing it makes Q uniform over rotations.
            blocks.append(lengths[:, None] * (q * r.diagonal().sign()).T)
        projection = torch.cat(blocks)[:n_features].to(torch.get_default_dtype())
        self.register_buffer("projection", projection)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., n_features), in float32 at least."""
        x = self.scale * x.to(torch.promote_types(x.dtype, torch.float32))
        with torch.autocast(x.device.type, enabled=False):
            exponent = x @ self.projection.to(x.dtype).T - x.square().sum(-1, keepdim=True) / 2
        return exponent.exp().div(len(self.projection) ** 0.5)


FeatureMapLike = str | Callable[[Tensor], Tensor] | None


def split_map(
    q: Tensor, k: Tensor, feature_map: FeatureMapLike, *, nonnegative: bool
) -> tuple[Tensor, Tensor, ElementwiseMap]:
    """Return what a kernel takes: q and k, and the elementwise map it applies to them itself.

    A named map is left to the kernel. A callable is applied here; None says that q and k are
    features already.

    Raises
    ------
    UnknownNameError
        If `feature_map` is a name that is not in :data:`FEATURE_MAPS`.
    FeatureMapError
        If `nonnegative` and a feature is below zero or NaN: the denominator could cross zero.
        Not looked at while torch.compile traces.
    """
    if isinstance(feature_map, str):
        if feature_map not in FEATURE_MAPS:
            raise UnknownNameError(
                f"There is no feature map {feature_map!r}. {suggest(feature_map, FEATURE_MAPS)} "
                "A callable is taken too."
            )
        return q, k, FEATURE_MAPS[feature_map]
    if feature_map is not None:
        q, k = feature_map(q), feature_map(k)
    if nonnegative and not torch.compiler.is_compiling():
        for name, features in (("q", q), ("k", k)):
            if not bool((features >= 0).all()):
                raise FeatureMapError(
                    f"The features of {name} reach {features.min().item():.3g}; the denominator "
                    "sum_j phi(q).phi(k_j) of normalised attention needs phi >= 0. Pass "
                    "feature_map='elu' for pre-activations, or normalize=False."
                )
    return q, k, IDENTITY
