"""What results have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

from dynprobe.plain import plain


class Result:
    """Base of the built-in results: frozen dataclasses of plain tensors and numbers."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists and numbers, ready for JSON."""
        result: Any = self
        return {f.name: plain(getattr(result, f.name)) for f in dataclasses.fields(result)}
