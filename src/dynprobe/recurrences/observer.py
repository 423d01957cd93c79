"""How the calls of a module are read: what came in, what went out, what the states were.

An observer serves one class of modules. In the forward hook it turns arguments and output into a
:class:`Call` and does nothing else; states that the call did not show are recovered later, when
somebody asks for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dynprobe.errors import StaleWeightsError
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.factors import Factors
from dynprobe.recurrences.rank_one import RankOne


@dataclass
class Call:
    """What one call of a module showed, in one orientation: batch first, batched, padded.

    Attributes
    ----------
    inputs : Tensor
        (batch, time, input_dim).
    outputs : Tensor
        (batch, time, width), the module's visible output.
    lengths : Tensor or None
        (batch,), where the call itself says them (a PackedSequence).
    passed, returned : tuple of Tensor
        The state as the caller passed it (empty: none) and as the module returned it.
    training : bool
        The module's mode during the call.
    """

    inputs: Tensor
    outputs: Tensor
    passed: tuple[Tensor, ...]
    returned: tuple[Tensor, ...]
    lengths: Tensor | None = None
    training: bool = False
    version: tuple[tuple[int, int], ...] = ()
    #: Whether the call ran under autocast, which rounds as half precision does.
    autocast: bool = False
    #: What an observer computed on the way to one recurrence and needs for another.
    rebuilt: dict[int, Tensor] = field(default_factory=dict, repr=False)
    #: Whether `inputs` and `outputs` are shapes only.
    empty: bool = False

    def owned(
        self,
        module: nn.Module,
        *,
        detach: bool = True,
        device: torch.device | str | None = None,
    ) -> Call:
        """A copy that later in-place operations cannot reach."""

        def own(t: Tensor) -> Tensor:
            t = t.detach() if detach else t
            return t.clone() if device is None else t.to(device, copy=True)

        return replace(
            self,
            # a copy of a mere shape would take its memory
            inputs=self.inputs if self.empty else own(self.inputs),
            outputs=self.outputs if self.empty else own(self.outputs),
            passed=tuple(map(own, self.passed)),
            returned=tuple(map(own, self.returned)),
            version=weights_version(module),
        )

    def hollow(self) -> Call:
        """The same without what the layer saw and showed, only their shapes (no memory)."""
        inputs, outputs = (t.new_zeros(()).expand_as(t) for t in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs, rebuilt={}, empty=True)

    @property
    def in_graph(self) -> bool:
        """Whether gradients are wanted through what is recovered: the call was kept undetached."""
        return self.outputs.requires_grad or self.inputs.requires_grad

    @property
    def nbytes(self) -> int:
        """Bytes of what was seen."""
        seen = (self.inputs, self.outputs, *self.passed, *self.returned)
        return sum(t.numel() * t.element_size() for t in seen)

    @property
    def batch(self) -> int:
        """Number of sequences in the call."""
        return self.inputs.shape[0]

    @property
    def time(self) -> int:
        """Number of steps in the call."""
        return self.inputs.shape[1]


@dataclass(frozen=True)
class Segment:
    """States of one recurrence during one call, in the order of the input's time axis.

    Attributes
    ----------
    states : Tensor or None
        (batch, time, state_dim), the state after each token; None where `form` says how they
        follow from the inputs.
    inputs : Tensor or None
        (batch, time, input_dim), what the recurrence saw; None where it cannot be known.
    initial : Tensor
        (batch, state_dim), the state before the first token it processed.
    form, scale : RankOne and Tensor, or None
        The rank-one recurrence that makes the states out of the inputs, and its decay's scale.
    """

    states: Tensor | None
    inputs: Tensor | None
    initial: Tensor
    form: RankOne | None = None
    scale: Tensor | None = None
    #: (batch, rows) steps that the rows of `states` belong to, where not all were kept.
    kept: Tensor | None = None

    @property
    def factors(self) -> Factors:
        """The states, where they follow from the inputs."""
        assert self.form is not None
        assert self.inputs is not None
        assert self.scale is not None
        return self.form.factors(self.inputs, self.initial, self.scale)


class Observer(ABC):
    """Reads the calls of one class of modules."""

    #: The version of this contract that the class is written for.
    api: ClassVar[int] = 1
    #: Whether the module's output is (part of) its state, so that a readout can be told by it.
    shows_state = True
    #: Whether padding on the right changes the final state that the module returns.
    padding_ends_in_cache = True

    @abstractmethod
    def recurrences(self, module: nn.Module) -> dict[str, Recurrence]:
        """Recurrences inside the module by suffix ("" when it holds one); the bare name's last."""

    @abstractmethod
    def observe(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Call:
        """Read one call; the tensors may be the caller's own (the tracer copies them)."""

    @abstractmethod
    def recover(self, module: nn.Module, suffix: str, call: Call) -> Segment:
        """States of one recurrence during the call."""

    @abstractmethod
    def how(self, module: nn.Module, suffix: str) -> str:
        """How the states are obtained and what that costs, in a few words."""

    def lazy(self, module: nn.Module, suffix: str) -> bool:
        """Whether :meth:`recover` needs the weights, and so has to run before they change."""
        return False

    def top(self, module: nn.Module) -> str:
        """The suffix that the bare module name stands for."""
        return next(reversed(self.recurrences(module)))

    def is_reverse(self, suffix: str) -> bool:
        """Whether this recurrence runs from the last token to the first."""
        return suffix.endswith("reverse")

    def directions(self, module: nn.Module) -> int:
        """How many directions the visible output holds side by side."""
        return 1


def weights_version(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """A fingerprint of the parameters that changes with every in-place update or replacement."""
    return tuple((id(p), 0 if p.is_inference() else p._version) for p in module.parameters())


def check_weights(module: nn.Module, call: Call, what: str) -> None:
    """Raise StaleWeightsError if the weights are no longer those of the call."""
    if weights_version(module) != call.version:
        raise StaleWeightsError(_STALE.format(what=what))


def check_rebuilt(final: Tensor, seen: Tensor, what: str, *, coarse: bool = False) -> None:
    """Raise StaleWeightsError unless a rebuilt final state is the one that the call returned.

    Not every change of weights leaves a trace on the parameters (fused optimizers and ``.data``
    do not); a state that was seen is the proof.
    """
    # autocast and half precision round coarsely; other weights give another state altogether
    coarse = coarse or seen.dtype not in (torch.float32, torch.float64)
    limit = 5e-2 if coarse else 1e-4
    seen = seen.to(final)
    if bool(((final - seen).abs() > limit * (1 + seen.abs())).any()):
        raise StaleWeightsError(_STALE.format(what=what))


_STALE = (
    "{what} has to be rebuilt with the weights of the recorded call, and these have changed "
    "since. Call probe.materialize() after the forward pass and before the optimizer step; it "
    "rebuilds everything while the weights are the same."
)


def zeros_state(call: Call, width: int) -> Tensor:
    """The default initial state, (batch, width)."""
    return torch.zeros(call.batch, width, dtype=call.outputs.dtype, device=call.outputs.device)
