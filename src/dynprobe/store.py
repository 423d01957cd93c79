"""What a recording keeps of states that may be too large to keep them all."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynprobe.errors import ShapeError, StoreError

STATES, FACTORS, FINAL = "states", "factors", "final"
#: What a probe may keep unless it is told otherwise, in bytes.
DEFAULT_BUDGET = 4 << 30


@dataclass(frozen=True, eq=False)
class Store:
    """What to keep of the states; ``attach(model, store=...)``.

    Attributes
    ----------
    what : {"states", "factors", "final"}
        Every state; or, for recurrences whose state changes by one outer product a token, what
        that product and the decay are made of (a few per cent of the memory, and exact: states,
        projections and inner products follow from it); or the last state of each sequence.
    every : int
        Keep the states after tokens every, 2 every, ... of each call only.
    project : int, Tensor or None
        Keep inner products with some directions: a (n, state_dim) tensor, or a number of random
        Gaussian ones of expected squared length 1.
    seed : int
        Seed of random directions.
    dtype, device
        Of the kept states; by default those of the model's.

    Notes
    -----
    Everything but "states" and "factors" is computed during the forward pass, and the rest is
    gone.
    """

    what: str = STATES
    every: int = 1
    project: int | Tensor | None = None
    seed: int = 0
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None

    def __post_init__(self) -> None:
        if self.what not in (STATES, FACTORS, FINAL):
            raise StoreError(
                f"A store keeps {STATES!r}, {FACTORS!r} or {FINAL!r}, got {self.what!r}; "
                "dynprobe.Store(every=16) and dynprobe.Store(project=64) keep some of the states."
            )
        if not isinstance(self.every, int) or self.every < 1:
            raise StoreError(f"every={self.every!r}: keep every first, second, ... token.")
        if not isinstance(self.project, Tensor) and not (
            self.project is None or (isinstance(self.project, int) and self.project > 0)
        ):
            raise StoreError(
                f"project={self.project!r}: give a number of directions, or (n, state_dim) of them."
            )
        if self.dtype is not None and not isinstance(self.dtype, torch.dtype):
            raise StoreError(f"dtype={self.dtype!r}: give a torch.dtype such as torch.float16.")
        if self.what != STATES and (self.every > 1 or self.project is not None):
            raise StoreError(
                f"every= and project= choose among the states; they do not go with {self.what!r}."
            )
        if self.every > 1 and self.project is not None:
            raise StoreError("Choose one of every= and project=.")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Store):
            return NotImplemented
        a, b = self.project, other.project
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            same = isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b)
        else:
            same = a == b
        return same and self._plain == other._plain

    def __hash__(self) -> int:
        return hash(self._plain)

    @property
    def _plain(self) -> tuple[object, ...]:
        return self.what, self.every, self.seed, self.dtype, str(self.device)

    @classmethod
    def of(cls, value: str | Store | None) -> Store:
        """A store given as itself, as its `what`, or left out."""
        if isinstance(value, Store):
            return value
        return cls() if value is None else cls(value)

    @property
    def reduces(self) -> bool:
        """Whether something is lost: what is kept is computed during the forward pass."""
        return self.what == FINAL or self.every > 1 or self.project is not None

    def width(self, state_dim: int) -> int:
        """Numbers kept of one state."""
        if self.project is None:
            return state_dim
        return len(self.project) if isinstance(self.project, Tensor) else self.project

    def directions(self, state_dim: int) -> Tensor:
        """(n, state_dim), what the states are projected on."""
        if isinstance(self.project, Tensor):
            if self.project.dim() != 2 or self.project.shape[1] != state_dim:
                raise ShapeError(
                    f"Store(project=...) has shape {tuple(self.project.shape)}, but the state has "
                    f"{state_dim} numbers: give (n, {state_dim})."
                )
            return self.project
        assert self.project is not None
        return _gaussian(self.project, state_dim, self.seed)

    def __str__(self) -> str:
        if self.every > 1:
            return f"the state after every {_nth(self.every)} token"
        if self.project is not None:
            chosen = "" if isinstance(self.project, Tensor) else "random "
            return f"{self.width(0)} {chosen}projections of each state"
        return {
            STATES: "every state",
            FACTORS: "factors",
            FINAL: "the final state",
        }[self.what]


@functools.lru_cache(maxsize=8)
def _gaussian(n: int, state_dim: int, seed: int) -> Tensor:
    """Random directions; drawn once, since every call of a layer projects on the same."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, state_dim, generator=generator).div_(state_dim**0.5)


@dataclass
class Budget:
    """Bytes that a probe and its recordings may hold together, and what they hold."""

    limit: int
    used: int = 0

    @property
    def left(self) -> int:
        """Bytes that may still be used."""
        return max(0, self.limit - self.used)


def budget_bytes(value: int | str | None) -> int:
    """Bytes of a budget given as a number or as "500 MB", "2 GiB"; the default for None."""
    if value is None:
        return DEFAULT_BUDGET
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return int(value)
    units: dict[str, Any] = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
    text = str(value).lower()
    found = re.fullmatch(r"\s*(\d+\.?\d*(?:e\d+)?)\s*([kmgt]?)(i?)b?\s*", text)
    if not found:
        raise StoreError(f'A budget is a number of bytes, or text such as "2 GiB": {value!r}.')
    number, unit, binary = found.groups()
    return int(float(number) * (1024 ** "_kmgt".index(unit or "_") if binary else units[unit]))


def _nth(n: int) -> str:
    teen = n % 100 in (11, 12, 13)
    return f"{n}" + ("th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th"))


def size(n: float) -> str:
    """Bytes for a reader: 4.8 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
