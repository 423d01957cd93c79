"""The mixers: projections around linear attention, causal with a state or over whole sequences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynprobe.nn.linear_attention.feature_maps import FEATURE_MAPS, FavorFeatures, FeatureMapLike
from dynprobe.nn.linear_attention.function import (
    causal_linear_attention,
    linear_attention_step,
    noncausal_linear_attention,
)
from dynprobe.nn.linear_attention.reference import State
from dynprobe.nn.linear_transformer.cache import LinearTransformerCache
from dynprobe.nn.linear_transformer.configuration import LinearTransformerConfig
from dynprobe.nn.linear_transformer.positions import rotate


@dataclass(frozen=True)
class Kernel:
    """What the functions of linear attention are told beside their tensors."""

    feature_map: FeatureMapLike
    eps: float
    normalize: bool
    decay: tuple[float, ...] | None
    chunk_size: int
    backend: str

    def rates(self, like: Tensor) -> Tensor | None:
        """(heads,) decays. Not a buffer: in half precision 1 - 2^-9 would be 1."""
        if self.decay is None:
            return None
        return torch.tensor(self.decay, device=like.device, dtype=torch.float64)


def attend(
    q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, mask: Tensor | None, state: State | None
) -> tuple[Tensor, State]:
    """Causal linear attention in which padding takes no time.

    Parameters
    ----------
    q, k, v : Tensor
        (batch, heads, time, width), before the feature map.
    kernel : Kernel
        Feature map, normaliser, decay.
    mask : Tensor or None
        (batch, time) bool, False at padding.
    state : (Tensor, Tensor) or None
        (S, z) after the tokens before.

    Returns
    -------
    (Tensor, (Tensor, Tensor))
        (batch, heads, time, head_dim), and the state after the last token. With a decay it is the
        state that the sequence without its padding leaves behind, whatever side that is on.
    """
    if q.shape[2] == 1 and state is not None:
        return _one_token(q, k, v, kernel, mask, state)
    if kernel.decay is None or mask is None:
        return _many(q, k, v, kernel, mask, state)
    if state is None:
        # Padding first: there is no state yet that could decay over it.
        order = mask.to(torch.uint8).argsort(dim=1, stable=True)
        q, k, v = (_reordered(x, order) for x in (q, k, v))
        out, state = _many(q, k, v, kernel, mask.gather(1, order), None)
        return _reordered(out, order.argsort(dim=1)), state
    outs = []  # rare (more text, padded, to a decaying state), and exact like this
    for t in range(q.shape[2]):
        one = slice(t, t + 1)
        qt, kt, vt = (x[:, :, one] for x in (q, k, v))
        out, state = _one_token(qt, kt, vt, kernel, mask[:, one], state)
        outs.append(out)
    return torch.cat(outs, dim=2), state


def _many(
    q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, mask: Tensor | None, state: State | None
) -> tuple[Tensor, State]:
    result = causal_linear_attention(
        q,
        k,
        v,
        feature_map=kernel.feature_map,
        eps=kernel.eps,
        normalize=kernel.normalize,
        decay=kernel.rates(v),
        mask=mask,
        initial_state=state,
        return_state=True,
        chunk_size=kernel.chunk_size,
        backend=kernel.backend,
    )
    assert isinstance(result, tuple)
    return result


def _one_token(
    q: Tensor, k: Tensor, v: Tensor, kernel: Kernel, mask: Tensor | None, state: State
) -> tuple[Tensor, State]:
    keep = None if mask is None else mask[:, 0]
    q, k, v = (x.squeeze(2) for x in (q, k, v))
    out, (s, z) = linear_attention_step(
        q,
        k,
        v,
        state,
        feature_map=kernel.feature_map,
        eps=kernel.eps,
        normalize=kernel.normalize,
        decay=kernel.rates(v),
        mask=keep,
    )
    if keep is not None and kernel.decay is not None:
        s = torch.where(keep[:, None, None, None], s, state[0])
        z = torch.where(keep[:, None, None], z, state[1])
    return out.unsqueeze(2), (s, z)


def _reordered(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(2, order[:, None, :, None].expand_as(x))


class Mixer(nn.Module):
    """Projections, feature map and positions of a layer's attention; a subclass says who sees whom.

    Parameters
    ----------
    config : LinearTransformerConfig
    layer_idx : int
        Where its state lies in the cache; also told apart from other layers by its features.
    """

    def __init__(self, config: LinearTransformerConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        width = config.num_attention_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width)
        self.k_proj = nn.Linear(config.hidden_size, width)
        self.v_proj = nn.Linear(config.hidden_size, width)
        self.o_proj = nn.Linear(width, config.hidden_size)
        self.norm = None if config.normalize else nn.RMSNorm(config.head_dim, eps=1e-6)
        self.favor = _random_features(config, layer_idx) if config.feature_map == "favor" else None

    @property
    def kernel(self) -> Kernel:
        """What this layer asks of the functions of linear attention."""
        c, rates = self.config, self.config.rates
        phi: FeatureMapLike = c.feature_map if self.favor is None else self.favor
        if c.position_embedding == "rotary":
            phi = None  # applied before the rotation
        return Kernel(
            phi,
            c.attention_eps,
            c.normalize,
            None if rates is None else tuple(rates),
            c.chunk_size,
            c.backend,
        )

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        past_key_values: LinearTransformerCache | None = None,
    ) -> Tensor:
        """(batch, time, hidden) -> (batch, time, hidden).

        `mask` (batch, time) is False at padding; `positions` (batch or 1, time) are for rotary
        ones; the cache is read, and written with the state after the last token.
        """
        shape = (-1, self.config.head_dim)
        projections = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (p(hidden_states).unflatten(-1, shape).transpose(1, 2) for p in projections)
        dtype = v.dtype
        if self.config.position_embedding == "rotary":
            assert positions is not None, "rotary attention needs positions"
            phi = FEATURE_MAPS[self.config.feature_map] if self.favor is None else self.favor
            q, k = (phi(x.to(torch.promote_types(dtype, torch.float32))) for x in (q, k))
            q, k = (rotate(x, positions, self.config.rotary_base) for x in (q, k))
            v = v.to(q.dtype)
        out = self.mix(q, k, v, mask, past_key_values)
        if self.norm is not None:
            out = self.norm(out.to(self.norm.weight.dtype))
        out = out.to(dtype)
        mixed: Tensor = self.o_proj(out.transpose(1, 2).flatten(2))
        return mixed

    def mix(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        cache: LinearTransformerCache | None,
    ) -> Tensor:
        """(batch, heads, time, width) each -> (batch, heads, time, head_dim)."""
        raise NotImplementedError


class CausalMixer(Mixer):
    """Every token sees those before it and itself: a recurrence with state (S, z)."""

    def mix(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        cache: LinearTransformerCache | None,
    ) -> Tensor:
        layer = None if cache is None else cache.layers[self.layer_idx]
        out, state = attend(q, k, v, self.kernel, mask, None if layer is None else layer.state)
        if layer is not None:
            layer.state = state
        return out


class EncoderMixer(Mixer):
    """Every token sees every token; no state."""

    def mix(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        cache: LinearTransformerCache | None,
    ) -> Tensor:
        kernel = self.kernel
        return noncausal_linear_attention(
            q,
            k,
            v,
            feature_map=kernel.feature_map,
            eps=kernel.eps,
            normalize=kernel.normalize,
            mask=mask,
        )


def _random_features(config: LinearTransformerConfig, layer_idx: int) -> FavorFeatures:
    generator = torch.Generator().manual_seed(config.feature_seed + layer_idx)
    return FavorFeatures(config.head_dim, config.num_features, generator=generator)
