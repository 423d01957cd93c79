"""Values as JSON can hold them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from torch import Tensor


def plain(value: Any) -> Any:
    """Turn a result into what JSON can hold: tensors become lists, NaN and Inf become strings."""
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return plain(to_dict())
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Tensor):
        if value.is_complex():
            return {"real": plain(value.real), "imag": plain(value.imag)}
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    # a plugin's result may hold anything: as text it does not keep the others from their file
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)
