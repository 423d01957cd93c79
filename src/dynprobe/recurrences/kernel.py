"""Observers of mixers whose states live inside a function: what they share.

A family says which functions to listen to and how one call of them reads as a rank-one
recurrence (:class:`~dynprobe.recurrences.rank_one.RankOne`); the rest is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from dynprobe.dynamics.affine import AffineMap, DeltaMap, DiagonalMap
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.listening import ListeningObserver
from dynprobe.recurrences.observer import Call, Segment
from dynprobe.recurrences.rank_one import DELTA, STABILISED, RankOne


@dataclass
class KernelCall(Call):
    """A call whose inputs are those of the recurrence itself, token by token.

    Attributes
    ----------
    scale : Tensor
        (heads, key or 1, columns or 1), what the weights say of the decay.
    """

    scale: Tensor = field(default_factory=lambda: torch.ones(1, 1, 1))

    @property
    def nbytes(self) -> int:
        return super().nbytes + self.scale.numel() * self.scale.element_size()

    def owned(
        self,
        module: nn.Module,
        *,
        detach: bool = True,
        device: torch.device | str | None = None,
    ) -> Call:
        own = super().owned(module, detach=detach, device=device)
        assert isinstance(own, KernelCall)
        scale = self.scale.detach() if detach else self.scale
        return replace(own, scale=scale.clone() if device is None else scale.to(device, copy=True))


class RankOneRecurrence(Recurrence):
    """The one-step map of a mixer's matrix state.

    Its input is what the kernel was given for one token (``form.inputs`` names the parts); the
    gates depend on it alone, so for a frozen input the map is affine in the state
    (:meth:`affine`), except for the running maximum of a stabilised form.
    """

    def __init__(
        self, module: nn.Module, form: RankOne, scale: Callable[[nn.Module], Tensor]
    ) -> None:
        self.module = module
        self.form = form
        self.layout = form.layout
        self.input_dim = form.inputs.size
        self._scale = scale

    @property
    def dtype(self) -> torch.dtype:
        # the kernels keep their states in float32 whatever the model's own dtype
        return torch.promote_types(super().dtype, torch.float32)

    def scale(self, like: Tensor) -> Tensor:
        """The decay's scale by the module's present weights, in the dtype of `like`."""
        assert self.module is not None
        return self._scale(self.module).to(like)

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        return self.form.step(state, x, self.scale(state))

    def affine(self, x: Tensor) -> AffineMap | None:
        if self.form.kind == STABILISED:
            return None
        form, parts, scale = self.form, self.form.inputs.split(x), self.scale(x)
        shape = (*x.shape[:-1], form.heads, form.key, form.columns)
        decay = form.log_decay(parts, scale).exp().expand(shape)
        k, u = form.key_of(parts), form.value_of(parts)
        if form.kind == DELTA:
            return DeltaMap(decay[..., 0], k, parts["beta"], u)
        return DiagonalMap(form.flat(decay), form.flat(k[..., None] * u[..., None, :]))

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        affine = self.affine(x)
        return super().jacobian(state, x) if affine is None else affine.matrix()


class KernelObserver(ListeningObserver):
    """Observer of a mixer whose kernel is a rank-one recurrence."""

    #: The layer's own output is not its state, so no Linear can be recognised by it.
    shows_state = False

    @abstractmethod
    def form(self, module: nn.Module) -> RankOne:
        """The recurrence that the module computes."""

    @abstractmethod
    def scale(self, module: nn.Module) -> Tensor:
        """(heads, key or 1, columns or 1), what the weights say of the decay."""

    def recurrences(self, module: nn.Module) -> dict[str, Recurrence]:
        return {"": RankOneRecurrence(module, self.form(module), self.scale)}

    def how(self, module: nn.Module, suffix: str) -> str:
        form = self.form(module)
        state, held = form.layout.size, form.inputs.size
        return (
            f"rebuilt on request from the kernel's inputs ({4 * held:,} bytes a token, "
            f"{held / state:.1%} of the states)"
        )

    def recover(self, module: nn.Module, suffix: str, call: Call) -> Segment:
        assert isinstance(call, KernelCall)
        form = self.form(module)
        initial = call.passed[0] if call.passed else self.zero(form, call.inputs)
        return Segment(None, call.inputs, initial, form=form, scale=call.scale)

    def zero(self, form: RankOne, like: Tensor) -> Tensor:
        """The state before a sequence begins, (batch, state_dim)."""
        return like.new_zeros(like.shape[0], form.layout.size)

    def call(
        self,
        module: nn.Module,
        parts: Mapping[str, Tensor],
        *,
        passed: Tensor | None,
        returned: Tensor | None,
    ) -> KernelCall:
        """Pack the parts of the kernel's input, (batch, time, *shape) each, into a call."""
        layout = self.form(module).inputs
        inputs = layout.join({name: p.float() for name, p in parts.items()})
        batch, time = inputs.shape[:2]

        def flat(state: Tensor | None) -> tuple[Tensor, ...]:
            if state is None:
                return ()
            return (state.reshape(batch, -1).float(),)

        return KernelCall(
            inputs,
            inputs.new_empty(batch, time, 0),
            flat(passed),
            flat(returned),
            training=module.training,
            scale=self.scale(module).float(),
        )
