"""A whole model as one map: ``probe.recurrence("all")``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from dynprobe.dynamics.maps import StepFunction
from dynprobe.errors import JointMapError
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.cache_step import CacheRecurrence
from dynprobe.recurrences.function import as_recurrence
from dynprobe.recurrences.layout import Layout
from dynprobe.recurrences.stack import stack


def joint_recurrence(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    recurrences: Mapping[str, Recurrence],
    *,
    step: StepFunction | None = None,
    state_dim: int | Layout | None = None,
    input_dim: int | None = None,
    context: Any = None,
) -> Recurrence:
    """The joint map of a model.

    Parameters
    ----------
    model : nn.Module
        The whole model.
    modules : dict of nn.Module
        Its recurrent layers by name.
    recurrences : dict of Recurrence
        Their maps by key.
    step, state_dim, input_dim : optional
        The map itself, as in :func:`as_recurrence`; without `state_dim` the state is that of all
        `recurrences` side by side.
    context : cache, optional
        What attention layers of a transformers model look back on.

    Raises
    ------
    JointMapError
        Where none can be built; says why.
    """
    if step is not None:
        return _given(recurrences, step, state_dim, input_dim)
    pretrained = pretrained_models(model)
    if context is not None and not pretrained:
        raise JointMapError(
            f"context= is the cache of a transformers model, and {type(model).__name__} is none."
        )
    only = next(iter(modules.values())) if len(modules) == 1 else None
    if isinstance(only, nn.RNNBase) and context is None:
        return stack(only)
    if len(pretrained) == 1:
        inner = next(iter(pretrained.values()))
        inside = set(inner.modules())
        if all(module in inside for module in modules.values()):
            return CacheRecurrence(inner, context)
    if len(recurrences) == 1:
        return next(iter(recurrences.values()))
    several = ", ".join([*recurrences] or [*pretrained])
    raise JointMapError(
        f"There is no joint map of {several}: what happens between them in one time step is code "
        f"of {type(model).__name__} that dynprobe cannot see. Give that step yourself: "
        'probe.recurrence("all", step=F, input_dim=...) with F(state, x) -> state, both batched; '
        "the state is that of all recurrences side by side unless state_dim= says otherwise. Or "
        "attach to one of them (layers=...)."
    )


def _given(
    recurrences: Mapping[str, Recurrence],
    step: StepFunction,
    state_dim: int | Layout | None,
    input_dim: int | None,
) -> Recurrence:
    if input_dim is None:
        raise JointMapError("A step of your own needs input_dim=, the width of the input it takes.")
    if state_dim is None:
        state_dim = Layout(
            tuple(
                (f"{key}.{name}", shape)
                for key, recurrence in recurrences.items()
                for name, shape in recurrence.layout.parts
            )
        )
    like = next(iter(recurrences.values()))
    return as_recurrence(
        step, state_dim=state_dim, input_dim=input_dim, dtype=like.dtype, device=like.device
    )


def pretrained_models(model: nn.Module) -> dict[str, nn.Module]:
    """The outermost transformers models in a module tree by name; imports nothing."""
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(not outer or name.startswith(f"{outer}.") for outer in found)
        if not inside and any(
            c.__name__ == "PreTrainedModel" and c.__module__.startswith("transformers.")
            for c in type(module).__mro__
        ):
            found[name] = module
    return found
