"""What a capture benchmark runs beside each other, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

PLAIN = "plain forward"

#: A function to time, or the reason why this cannot be had.
Case = Callable[[], object] | str
Cases = dict[str, Case]


def agree(got: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Stop a benchmark of something that does not give the states at all."""
    error = float((got - expected).norm() / expected.norm())
    assert error <= tolerance, f"states differ by {error:.1e}"
