"""What every map has to do: shapes, rows, dtypes, and nothing but compute."""

from __future__ import annotations

import torch
from torch import Tensor

from dynprobe.errors import PluginError
from dynprobe.plugins import check_api
from dynprobe.recurrences.base import Recurrence
from dynprobe.recurrences.layout import Layout
from dynprobe.testing import untouched
from dynprobe.testing.points import POINTS, WIDE, Points, apart, described


def contract(recurrence: Recurrence) -> None:
    """The class says what the map is, for a version that is understood."""
    """The class says what the map is, for a version that is understood."""
    try:
        check_api(type(recurrence), f"The recurrence {type(recurrence).__name__}")
    except PluginError as error:
        raise AssertionError(str(error)) from error
    if not (isinstance(recurrence.layout, Layout) and recurrence.layout.size > 0):
        raise AssertionError(
            f"layout is {recurrence.layout!r}; say what the state is made of, such as "
            "dynprobe.Layout.of(h=64)."
        )
    if not (isinstance(recurrence.input_dim, int) and recurrence.input_dim > 0):
        raise AssertionError(
            f"input_dim is {recurrence.input_dim!r}; give the width of the input, 1 where there is "
            "none."
        )


def shapes(p: Points) -> None:
    """One row for each state, of the right width."""
    """One row for each state, of the right width."""
    n, m = p.map.state_dim, p.map.input_dim
    for batch in (1, POINTS):
        s, x = p.states[:1].expand(batch, n), p.inputs[:1].expand(batch, m)
        for name, shape in (
            ("step", (batch, n)),
            ("root", (batch, n)),
            ("jacobian", (batch, n, n)),
            ("input_jacobian", (batch, n, m)),
            ("root_jacobian", (batch, n, n)),
        ):
            if "jacobian" in name and n > WIDE:
                continue
            got = getattr(p.map, name)(s, x)
            if not (isinstance(got, Tensor) and got.shape == shape):
                raise AssertionError(
                    f"{name}(state, x) gave {described(got)} for {batch} states of {n} numbers "
                    "and inputs "
                    f"of {m}; it must give {shape}, one row for each state."
                )


def deterministic(p: Points) -> None:
    """The same state and input lead to the same state."""
    """The same state and input lead to the same state."""
    a, b = p.map.step(p.states, p.inputs), p.map.step(p.states, p.inputs)
    if not torch.equal(a, b):
        raise AssertionError(
            "Two steps from the same states differ. A recurrence is a map: leave dropout and "
            "noise out "
            "(module.eval(), or pass the noise as input), and keep no state in the module."
        )


def batch(p: Points) -> None:
    """A row does not depend on the others."""
    """A row does not depend on the others."""
    together = p.map.step(p.states, p.inputs)
    alone = [p.map.step(s[None], x[None]) for s, x in zip(p.states, p.inputs, strict=True)]
    found = apart(together, torch.cat(alone), 1e-9)
    if found:
        raise AssertionError(
            f"A state steps elsewhere beside other states than alone ({found}). Each row must "
            "depend "
            "on its own state and input only: reduce over the last axis, not over the batch."
        )


def dtype(p: Points) -> None:
    """Everything is computed in the dtype of the state."""
    """Everything is computed in the dtype of the state."""
    for dtype in (torch.float32, torch.float64):
        s, x = p.states.to(dtype), p.inputs.to(dtype)
        for name in ("step", "jacobian", "root"):
            if name == "jacobian" and p.map.state_dim > WIDE:
                continue
            got = getattr(p.map, name)(s, x).dtype
            if not (got == dtype):
                raise AssertionError(
                    f"{name} gave {got} for a state in {dtype}. Compute in the dtype of the state: "
                    "self.call(...) and self.parameters_like(state) cast the parameters on the way."
                )


def precisions(p: Points) -> None:
    """Float64 and float32 lead to the same state up to rounding."""
    """Float64 and float32 lead to the same state up to rounding."""
    # the same numbers in both: what float32 cannot hold is not the step's fault
    s, x = p.states.float(), p.inputs.float()
    found = apart(p.map.step(s.double(), x.double()), p.map.step(s, x).double(), 1e-4)
    if found:
        raise AssertionError(
            f"A step in float64 and one in float32 lead to different states ({found}). "
            "Something in "
            "the step depends on the dtype, or loses precision beyond rounding."
        )


def leaves_untouched(p: Points) -> None:
    """Module, random states and settings are what they were."""
    """Module, random states and settings are what they were."""
    before = untouched.of_module(p.map.module) | untouched.of_process()
    for dtype in (torch.float32, torch.float64):
        s, x = p.states.to(dtype), p.inputs.to(dtype)
        p.map.step(s, x), p.map.root(s, x), p.map.bound(x), p.map.affine(x)
        if p.map.state_dim <= WIDE:
            p.map.jacobian(s, x), p.map.input_jacobian(s, x), p.map.root_jacobian(s, x)
        # after each, for a module that is cast to and fro ends as it began
        after = untouched.of_module(p.map.module) | untouched.of_process()
        found = untouched.changed(before, after)
        if found:
            raise AssertionError(
                f"Using the map changed {', '.join(found)}. Call the module by self.call(...), "
                "which casts copies of its parameters, and draw nothing at random."
            )
