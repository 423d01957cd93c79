"""Periodic orbits of a map, each with its multipliers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from dynprobe.dynamics.completeness import Completeness


@dataclass(frozen=True)
class PeriodicOrbits:
    """Orbits of one minimal period. Float64, on the CPU.

    Attributes
    ----------
    period : int
        k.
    states : Tensor
        (orbits, k, state_dim), in the order in which they follow each other; which is first means
        nothing.
    input : Tensor
        (input_dim,), the input held constant.
    multipliers : Tensor
        (orbits, state_dim), complex: eigenvalues of the product of the Jacobians along the orbit,
        by falling magnitude.
    speed : Tensor
        (orbits,), the largest ½‖F^k(s) − s‖² of the orbit's states.
    isolated : Tensor
        (orbits,), False where the orbit is one of a continuum (a multiplier of 1).
    scale : float
        Size of a typical state: root mean square norm of the seeds.
    divisors : dict of int to int
        For each proper divisor of k, how many distinct points with that minimal period were
        found. They return after k steps too, and are no orbits of period k.
    unconverged : int
        Seeds from which no point was found that returns after k steps.
    completeness : Completeness
        Whether points of F^k are known to be missing.
    """

    period: int
    states: Tensor
    input: Tensor
    multipliers: Tensor
    speed: Tensor
    isolated: Tensor
    scale: float
    divisors: dict[int, int]
    unconverged: int
    completeness: Completeness

    @property
    def n_unstable(self) -> Tensor:
        """(orbits,), multipliers outside the unit circle."""
        return (self.multipliers.abs() > 1).sum(1)

    @property
    def stable(self) -> Tensor:
        """(orbits,), True where every multiplier is inside the unit circle: the orbit attracts."""
        return (self.multipliers.abs() < 1).all(1)

    def __len__(self) -> int:
        """Number of orbits."""
        return len(self.states)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        names = ("states", "input", "speed", "isolated", "n_unstable")
        out: dict[str, Any] = {name: getattr(self, name).tolist() for name in names}
        out["multipliers_real"] = self.multipliers.real.tolist()
        out["multipliers_imag"] = self.multipliers.imag.tolist()
        out |= {"period": self.period, "scale": self.scale, "unconverged": self.unconverged}
        out["divisors"] = {str(d): n for d, n in self.divisors.items()}
        return out | {"completeness": asdict(self.completeness)}

    def __repr__(self) -> str:
        shorter = ", ".join(
            f"{n} point{'s' * (n > 1)} of period {d}" for d, n in self.divisors.items() if n
        )
        return (
            f"PeriodicOrbits({len(self)} of period {self.period}, {int(self.stable.sum())} stable"
            + (f"; also {shorter})" if shorter else ")")
        )
