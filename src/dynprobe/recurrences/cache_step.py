"""A Hugging Face model as one map: one token's step through the model's cache.

The state is every recurrent tensor of the cache, the input one token's embedding. Caches are
overwritten in place, so each step works on a private copy of the cache, whose recurrent tensors
are written from the state and read back afterwards; what a layer saved for its gradient is kept
from being overwritten (:meth:`CacheRecurrence.step`).
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from dynprobe.errors import JointMapError, ShapeError
from dynprobe.recurrences.base import Recurrence, check_width
from dynprobe.recurrences.layout import Layout

Path = tuple[str | int, ...]

# What a recurrent tensor is called in a cache, and what its part of the state is called.
_RECURRENT = {
    "conv_states": "conv",
    "recurrent_states": "recurrent",
    "ssm_states": "recurrent",
    "rnn_state": "rnn",
    "linear_cache": "linear",
}
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
        # shares parameters and buffers, but neither training mode nor the hooks of a probe
        shared = [*self.module.parameters(), *self.module.buffers()]
        self._copy = copy.deepcopy(self.module, {id(t): t for t in shared}).eval()
        _use_plain_kernels(self._copy)
        self._argument = _cache_argument(self.module)
        self.input_dim = _embedding_dim(self.module)
        if context is None:
            self._context = self._fresh()
        else:
            self._context = _rebuilt(context, lambda _, t: t.detach().clone())
        found = _tensors(self._context)
        self._names = {path: name for path in found if (name := _name(path, found)) is not None}
        if not self._names:
            raise JointMapError(
                f"The cache of {type(self.module).__name__} "
                f"({type(self._context).__name__}) holds no recurrent state: the model keeps it "
                f"elsewhere, has none, or the context has seen no token. {_STEP}"
            )
        self.layout = Layout(
            tuple((name, tuple(found[path].shape[1:])) for path, name in self._names.items())
        )
        self._held = {path: t for path, t in found.items() if _is_held(path, t)}
        self._checked = False

    def _fresh(self) -> Any:
        """The model's own cache with recurrent states at zero and no keys and values."""
        x = torch.zeros(1, 1, self.input_dim, dtype=self.dtype, device=self.device)
        with torch.no_grad():
            out = self._forward(x, None, self._parameters_in(self.dtype))
        cache = getattr(out, self._argument, None)
        if cache is None:
            raise JointMapError(
                f"{type(self.module).__name__} returned no {self._argument} for a token with "
                f"use_cache=True. {_STEP}"
            )
        for layer in getattr(cache, "layers", ()):
            if hasattr(layer, "keys"):
                layer.keys = layer.values = None
                layer.is_initialized = False
                if hasattr(layer, "cumulative_length"):
                    layer.cumulative_length = 0
        return _rebuilt(cache, lambda path, t: t if _is_held(path, t) else torch.zeros_like(t))

    def _parameters_in(self, dtype: torch.dtype) -> dict[str, Tensor]:
        def cast(t: Tensor, *, own: bool) -> Tensor:
            return t.detach().to(dtype=dtype if t.is_floating_point() else t.dtype, copy=own)

        parameters = {k: cast(p, own=False) for k, p in self.module.named_parameters()}
        # a forward may write to a buffer
        return parameters | {k: cast(b, own=True) for k, b in self.module.named_buffers()}

    def _forward(self, x: Tensor, cache: Any, parameters: dict[str, Tensor]) -> Any:
        kwargs = {"inputs_embeds": x, self._argument: cache, "use_cache": True}
        return torch.func.functional_call(self._copy, parameters, (), kwargs)

    def initial(self, batch: int = 1) -> Tensor:
        """(batch, state_dim), the state after the context; zeros without one."""
        return self.state_of(self._context).expand(batch, -1).clone()

    def state_of(self, cache: Any) -> Tensor:
        """(batch, state_dim), a copy of the recurrent states that a cache of this model holds."""
        found = _tensors(cache)
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
        parts = self.layout.split(state)
        private: set[int] = set()

        def place(path: Path, t: Tensor) -> Tensor:
            if path in self._names:
                new = parts[self._names[path]].clone()
            else:
                new = self._hold(path, t, state)
            private.add(new.untyped_storage()._cdata)
            return new

        def keep(saved: Tensor) -> Tensor:
            # saved for the gradient, then overwritten with the next state
            mine = saved.untyped_storage()._cdata in private
            return saved.clone() if mine else saved.detach()

        cache = _rebuilt(self._context, place)
        precise = _Float64() if state.dtype == torch.float64 else nullcontext()
        with saved_tensors_hooks(keep, lambda saved: saved), precise:
            self._forward(x.unsqueeze(1), cache, self._parameters_in(state.dtype))
        after = _tensors(cache)
        return self.layout.join({n: after[p].to(state.dtype) for p, n in self._names.items()})

    def _hold(self, path: Path, t: Tensor, state: Tensor) -> Tensor:
        """A copy of what the context holds fixed, one row for each of the states."""
        if not t.is_floating_point():
            return t.clone()
        if t.shape[0] not in (1, state.shape[0]):
            raise ShapeError(
                f"The context holds {t.shape[0]} sequences, but there are {state.shape[0]} "
                "states: give a context of one sequence, or one state for each of its sequences."
            )
        return t.to(state.dtype).expand(state.shape[0], *t.shape[1:]).clone()

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
        """Compare u'J v with a central difference, for each part of the new state.

        In-place writes that autograd does not see leave no trace: the derivative is just wrong.
        """
        if self._checked:
            return
        at, x = state[:1].detach().double(), x[:1].detach().double()
        if any(t.shape[0] > 1 for t in self._held.values()):
            at, x = state.detach().double(), x.detach().double()
        generator = torch.Generator().manual_seed(0)

        def drawn(like: Tensor) -> Tensor:
            return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)

        ds, dx, h = drawn(at), drawn(x), 1e-5
        with torch.no_grad():
            ahead = self.step(at + h * ds, x + h * dx)
            expected = (ahead - self.step(at - h * ds, x - h * dx)) / (2 * h)
        with torch.enable_grad():
            at, x = at.requires_grad_(True), x.requires_grad_(True)
            new = self.step(at, x)
            for name in self.layout.names:
                where = self.layout.slice(name)
                u = drawn(new[..., where])
                got = torch.zeros((), dtype=new.dtype)
                if new.requires_grad:
                    gradients = torch.autograd.grad(
                        (new[..., where] * u).sum(),
                        (at, x),
                        retain_graph=True,
                        materialize_grads=True,
                    )
                    got = (gradients[0] * ds).sum() + (gradients[1] * dx).sum()
                want = (expected[..., where] * u).sum()
                scale = expected[..., where].norm() * u.norm()
                if not bool((got - want).abs() <= 1e-3 * scale + 1e-12):
                    raise JointMapError(
                        f"The derivative of {name!r} of {type(self.module).__name__} is wrong: "
                        f"{float(got):.4g} along a direction in which the step changes by "
                        f"{float(want):.4g}. Its decoding step is cut off from the gradient (a "
                        "kernel without a backward pass, or a copy under no_grad); load the model "
                        f"with its plain torch path. {_STEP}"
                    )
        self._checked = True

    @property
    def notes(self) -> tuple[str, ...]:
        """What this map takes as given."""
        out = ["one decoding step in eval mode"]
        lengths = {t.shape[-2] for path, t in self._held.items() if path[-1] == "keys"}
        if lengths:
            out.append(
                f"attention layers attend over {max(lengths)} held tokens of the context and the "
                "token itself, and what a step appends is dropped"
            )
        elif any(hasattr(layer, "keys") for layer in getattr(self._context, "layers", ())):
            out.append("attention layers see the token alone: no context was given")
        return tuple(out)

    def __repr__(self) -> str:
        return (
            f"CacheRecurrence({type(self.module).__name__}, state of {self.state_dim} numbers in "
            f"{len(self.layout.parts)} parts {self.layout.names[0]} ... {self.layout.names[-1]}, "
            f"input_dim={self.input_dim}; {'; '.join(self.notes)})"
        )


class _Float64(TorchFunctionMode):
    """Computes in float64 where a model asks for float32, as most do for states and norms."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()

        def wide(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        return func(*map(wide, args), **{k: wide(v) for k, v in (kwargs or {}).items()})


def _rebuilt(cache: Any, on_tensor: Callable[[Path, Tensor], Tensor]) -> Any:
    """A copy of a cache, its layers and containers, with each tensor replaced."""
    objects = {id(cache), *map(id, getattr(cache, "layers", ()))}

    def visit(node: Any, path: Path) -> Any:
        if isinstance(node, Tensor):
            return on_tensor(path, node)
        if isinstance(node, dict):
            return {k: visit(v, (*path, k)) for k, v in node.items()}
        if isinstance(node, (list, tuple)):
            return type(node)(visit(v, (*path, i)) for i, v in enumerate(node))
        if id(node) in objects:
            new = copy.copy(node)
            new.__dict__.update({k: visit(v, (*path, k)) for k, v in vars(node).items()})
            return new
        return node

    return visit(cache, ())


def _tensors(cache: Any) -> dict[Path, Tensor]:
    """Every tensor in a cache by its path."""
    found: dict[Path, Tensor] = {}

    def note(path: Path, t: Tensor) -> Tensor:
        found[path] = t
        return t

    _rebuilt(cache, note)
    return found


def _is_held(path: Path, t: Tensor) -> bool:
    return not t.is_floating_point() or not any(step in _RECURRENT for step in path)


def _name(path: Path, found: Mapping[Path, Tensor]) -> str | None:
    """Part name of a recurrent tensor: ("layers", 0, "conv_states", 0) -> "layers.0.conv"."""
    if _is_held(path, found[path]):
        return None
    alone = path[-1] == 0 and (*path[:-1], 1) not in found and path[-2] in _RECURRENT
    shown = path[:-1] if alone and len(path) > 2 else path
    return ".".join(_RECURRENT.get(str(step), str(step)) for step in shown)


def _use_plain_kernels(model: Any) -> None:
    """Attention and experts in plain products: the fused kernels know no float64."""
    for name in ("set_attn_implementation", "set_experts_implementation"):
        if hasattr(model, name):
            getattr(model, name)("eager")


def _cache_argument(model: nn.Module) -> str:
    parameters = inspect.signature(model.forward).parameters
    for name in ("past_key_values", "cache_params"):
        if name in parameters and "inputs_embeds" in parameters:
            return name
    raise JointMapError(
        f"The forward of {type(model).__name__} does not take a cache (past_key_values or "
        f"cache_params) together with inputs_embeds, so no step through it can be made. {_STEP}"
    )


def _embedding_dim(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[1])
