"""The fla backend: flash-linear-attention's chunked kernel for S_t = gamma S_{t-1} + k_t v_t^T.

Features are computed outside and the normaliser goes along as a column of ones, in float32: the
library's own normaliser has another eps, and its states follow the dtype of the keys.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from dynprobe.errors import BackendError
from dynprobe.nn.linear_attention.chunked import inverse
from dynprobe.nn.linear_attention.tiles import Options

# The gradient of a normalised key was wrong before, and g_gamma was not there.
OLDEST = (0, 5, 1)


def fla_attention(q: Tensor, k: Tensor, v: Tensor, state: Tensor, decay: Tensor | None,
                  options: Options) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As :func:`~dynprobe.nn.linear_attention.chunked.chunked_attention`, by fla-core >= 0.5.1.

    Not differentiable twice.

    Raises
    ------
    BackendError
        If fla-core is older.
    """
    version = importlib.metadata.version("fla-core")
    if tuple(int(part) for part in version.split(".")[:3] if part.isdigit()) < OLDEST:
        raise BackendError(f"fla-core is {version}; the fla backend needs 0.5.1 or later.")
    kernel: Any = importlib.import_module("fla.ops.simple_gla").chunk_simple_gla
    features, keys = options.phi(q.float()), options.phi(k.float())
    values = pad(v.float(), (0, 1), value=1.0)
    # All N sequences become heads of one batch, so that each can have its decay.
    y, final = kernel(
        *(x.transpose(0, 1)[None] for x in (features, keys, values)),
        g_gamma=None if decay is None else decay.log(),
        scale=1.0,
        initial_state=state[None],
        output_final_state=True,
    )
    y = y[0].transpose(0, 1)
    out = y[..., :-1]
    if options.normalize:
        out = out * inverse(y[..., -1:] + options.eps)
    result: tuple[Tensor, Tensor] = (out.to(v.dtype), final[0])
    return result
