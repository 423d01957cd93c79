"""A Hugging Face model as one map: one token's step through the model's cache.

The state is every recurrent tensor of the cache, the input one token's embedding. Caches are
overwritten in place, so each step works on a private copy of the cache, whose recurrent tensors
are written from the state and read back afterwards; what a layer saved for its gradient is kept
from being overwritten (:meth:`CacheRecurrence.step`).
"""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from dynprobe.errors import JointMapError
from dynprobe.recurrences.base import Recurrence, check_width
from dynprobe.recurrences.cache_tree import (
    Path,
    attention_layers,
    emptied,
    expanded,
    length_of,
    rebuilt,
    recurrent_parts,
    tensors_of,
)
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.twin import Float64, twin

_STEP = 'A step of your own goes in by probe.recurrence("all", step=..., input_dim=...).'


class CacheRecurrence(Recurrence):
    """One decoding step of a transformers model on its recurrent states.

    The step is the one of evaluation mode, on the parameters as they are now. Attention layers
    attend over the keys and values of `context` and over the token itself; what a step would
    append to them is dropped, so each step is at the position after the context.

    Parameters
    ----------
    model : PreTrainedModel
        It is neither run nor changed: steps run on a copy that shares its parameters.
    context : cache, optional
        What the model returned for a prefix, without padding: a copy of its keys and values is
        held fixed. Without it attention layers see the token alone.

    Raises
    ------
    JointMapError
        If the model does not keep its states in a cache that can be read and written.
    """

    module: nn.Module

    def __init__(self, model: nn.Module, context: Any = None) -> None:
        self.module = getattr(model, "base_model", model)  # without the language-model head
        self._copy = twin(self.module)
        self._argument, self._placed = _arguments(self.module)
        self.input_dim = _embedding_dim(self.module)
        if context is None:
            self._context = self._fresh()
        else:
            self._context = rebuilt(context, lambda _, t: t.detach().clone())
        self._names = recurrent_parts(self._context)
        if not self._names:
            raise JointMapError(
                f"The cache of {type(self.module).__name__} "
                f"({type(self._context).__name__}) holds no recurrent state: the model keeps it "
                f"elsewhere, has none, or the context has seen no token. {_STEP}"
            )
        found = tensors_of(self._context)
        self.layout = Layout(
            tuple((name, tuple(found[path].shape[1:])) for path, name in self._names.items())
        )
        self._checked = False

    def _fresh(self) -> Any:
        """The model's own cache with recurrent states at zero and no keys and values."""
        x = torch.zeros(1, 1, self.input_dim, dtype=self.dtype, device=self.device)
        with torch.no_grad():
            out = self._forward(x, None, self._parameters_in(self.dtype))
        cache = getattr(out, self._argument, None)
        if cache is None:
            raise JointMapError(
                f"{type(self.module).__name__} returned no {self._argument} for a token, so its "
                f"states are not in a cache that can be read and written. {_STEP}"
            )
        return emptied(cache)

    def _parameters_in(self, dtype: torch.dtype) -> dict[str, Tensor]:
        def cast(t: Tensor, *, own: bool) -> Tensor:
            return t.detach().to(dtype=dtype if t.is_floating_point() else t.dtype, copy=own)

        parameters = {k: cast(p, own=False) for k, p in self.module.named_parameters()}
        # a forward may write to a buffer
        return parameters | {k: cast(b, own=True) for k, b in self.module.named_buffers()}

    def _forward(self, x: Tensor, cache: Any, parameters: dict[str, Tensor]) -> Any:
        kwargs = {"inputs_embeds": x, self._argument: cache, "use_cache": True}
        if self._placed:  # some models count from zero at each call
            kwargs["position_ids"] = x.new_full((len(x), 1), length_of(cache), dtype=torch.int64)
        return torch.func.functional_call(self._copy, parameters, (), kwargs)

    def initial(self, batch: int = 1) -> Tensor:
        """(batch, state_dim), the state after the context; zeros without one."""
        return expanded(self.state_of(self._context), batch).clone()

    def state_of(self, cache: Any) -> Tensor:
        """(batch, state_dim), a copy of the recurrent states that a cache of this model holds."""
        found = tensors_of(cache)
        if missing := [name for path, name in self._names.items() if path not in found]:
            raise JointMapError(
                f"This {type(cache).__name__} lacks {', '.join(missing[:4])}; it must be a cache "
                f"that {type(self.module).__name__} returned after at least one token."
            )
        return self.layout.join({n: found[p].detach() for p, n in self._names.items()})

    def step(self, state: Tensor, x: Tensor) -> Tensor:
        """One token: (batch, state_dim), embeddings (batch, input_dim) -> (batch, state_dim).

        In float64 every part computes in float64, also where the model asks for float32.
        """
        check_width(x, self.input_dim, "x")
        if not len(state):  # what a kernel reshapes to (0, 1, -1) has no width
            return state.clone()
        parts = self.layout.split(state)
        private: set[int] = set()

        def place(path: Path, t: Tensor) -> Tensor:
            if path in self._names:
                new = parts[self._names[path]].clone()
            elif t.is_floating_point():
                new = expanded(t, len(state)).to(state.dtype, copy=True)
            else:
                new = t.clone()
            private.add(new.untyped_storage()._cdata)
            return new

        def keep(saved: Tensor) -> Tensor:
            # saved for the gradient, then overwritten with the next state
            mine = saved.untyped_storage()._cdata in private
            return saved.clone() if mine else saved.detach()

        cache = rebuilt(self._context, place)
        precise = Float64() if state.dtype == torch.float64 else nullcontext()
        with saved_tensors_hooks(keep, lambda saved: saved), precise:
            self._forward(x.unsqueeze(1), cache, self._parameters_in(state.dtype))
        after = tensors_of(cache)
        return self.layout.join({n: after[p].to(state.dtype) for p, n in self._names.items()})

    def jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        """By automatic differentiation; verified once along a random direction.

        Raises
        ------
        JointMapError
            If the model's decoding step is cut off from its derivative: a kernel without a
            backward pass, or a copy under ``no_grad``.
        """
        self._check_differentiable(state, x)
        return super().jacobian(state, x)

    def input_jacobian(self, state: Tensor, x: Tensor) -> Tensor:
        self._check_differentiable(state, x)
        return super().input_jacobian(state, x)

    def _check_differentiable(self, state: Tensor, x: Tensor) -> None:
        """Compare the derivative along a random direction with a central difference, once.

        Where autograd does not see an in-place write, nothing fails: the derivative is just wrong.
        The point is random too: at the zero input a norm bends too sharply for a difference.
        """
        if self._checked:
            return
        generator = torch.Generator().manual_seed(0)

        def drawn(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device)

        s, ds = state.detach().double() + 0.1 * drawn(state), drawn(state)
        u, du = drawn(x), drawn(x)
        h = 1e-4
        with torch.no_grad():
            ahead, behind = (self.step(s + k * ds, u + k * du) for k in (h, -h))
            expected = (ahead - behind) / (2 * h)
        with torch.enable_grad():
            at, given = s.requires_grad_(True), u.requires_grad_(True)
            new = self.step(at, given)
        for name in self.layout.names:
            where = self.layout.slice(name)
            weight = drawn(new[..., where])
            got = 0.0
            if new.requires_grad:
                gradients = torch.autograd.grad(
                    new,
                    (at, given),
                    _padded(weight, new, where),
                    retain_graph=True,
                    materialize_grads=True,
                )
                got = float((gradients[0] * ds).sum() + (gradients[1] * du).sum())
            want = float((expected[..., where] * weight).sum())
            if not abs(got - want) <= 1e-2 * float(expected[..., where].norm()) + 1e-8:
                raise JointMapError(
                    f"The derivative of {name!r} of {type(self.module).__name__} is wrong: "
                    f"{got:.4g} along a direction in which the step changes by {want:.4g}. Its "
                    "decoding step is cut off from the gradient (a kernel without a backward "
                    "pass, or a copy under no_grad); load the model with its plain torch path. "
                    f"{_STEP}"
                )
        self._checked = True

    @property
    def notes(self) -> tuple[str, ...]:
        """What this map takes as given."""
        out = ["one decoding step in eval mode"]
        if length := length_of(self._context):
            out.append(
                f"attention layers look back on {length} held tokens of the context and the token "
                "itself, and what a step appends is dropped"
            )
        elif attention_layers(self._context):
            out.append("attention layers see the token alone: no context was given")
        return tuple(out)

    def __repr__(self) -> str:
        return (
            f"CacheRecurrence({type(self.module).__name__}, state of {self.state_dim} numbers in "
            f"{len(self.layout.parts)} parts {self.layout.names[0]} ... {self.layout.names[-1]}, "
            f"input_dim={self.input_dim}; {'; '.join(self.notes)})"
        )


def _padded(part: Tensor, state: Tensor, where: slice) -> Tensor:
    """A part of a state as a whole state with zeros elsewhere."""
    out = torch.zeros_like(state)
    out[..., where] = part
    return out


def _arguments(model: nn.Module) -> tuple[str, bool]:
    """What the model calls its cache, and whether it takes position_ids."""
    parameters = inspect.signature(model.forward).parameters
    for name in ("past_key_values", "cache_params"):
        if name in parameters and "inputs_embeds" in parameters:
            return name, "position_ids" in parameters
    raise JointMapError(
        f"The forward of {type(model).__name__} does not take a cache (past_key_values or "
        f"cache_params) together with inputs_embeds, so no step through it can be made. {_STEP}"
    )


def _embedding_dim(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[1])
