"""Whether the closed forms of a map belong to its step: Jacobians, root, bound, affine map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dynprobe.dynamics.certificate import Status
from dynprobe.dynamics.maps import autograd_jacobian
from dynprobe.dynamics.search import find_fixed_points
from dynprobe.recurrences.base import Recurrence
from dynprobe.testing.points import WIDE, Points, apart, described


def jacobian(p: Points) -> None:
    """dF/dstate is the derivative of the step."""
    """dF/dstate is the derivative of the step."""
    _derivative(p, "jacobian", lambda s: p.map.step(s, p.inputs), p.states)


def input_jacobian(p: Points) -> None:
    """dF/dx is the derivative of the step."""
    """dF/dx is the derivative of the step."""
    _derivative(p, "input_jacobian", lambda x: p.map.step(p.states, x), p.inputs)


def root_jacobian(p: Points) -> None:
    """droot/dstate is the derivative of the root form."""
    """droot/dstate is the derivative of the root form."""
    _derivative(p, "root_jacobian", lambda s: p.map.root(s, p.inputs), p.states)


def _derivative(p: Points, name: str, f: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """Compare a Jacobian with central differences along random directions, and with autograd."""
    if p.map.state_dim > WIDE:
        return
    jacobian = getattr(p.map, name)(p.states, p.inputs)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _ in range(4):
            v = torch.randn(at.shape, generator=generator, dtype=at.dtype).to(at)
            h = 1e-6
            differences = (f(at + h * v) - f(at - h * v)) / (2 * h)
            found = apart(differences, (jacobian @ v[..., None])[..., 0], 1e-5)
            if found:
                raise AssertionError(
                    f"{name} is not the derivative: along a random direction the map moves "
                    "otherwise "
                    f"({found}). Correct the closed form, or leave it out: autograd is the "
                    "default. "
                    "If there is none, the step cuts the graph (detach, .data, .item())."
                )
    found = apart(autograd_jacobian(f, at), jacobian, 1e-7)
    if found:
        raise AssertionError(f"{name} and autograd disagree ({found}); the step may cut the graph.")


def root(p: Points) -> None:
    """The root form is F(s, x) - s up to positive factors, and vanishes at fixed points."""
    """The root form is F(s, x) - s up to positive factors, and vanishes at fixed points."""
    if type(p.map).root is Recurrence.root:
        return
    with torch.no_grad():
        moved = p.map.step(p.states, p.inputs) - p.states
        root = p.map.root(p.states, p.inputs)
    clear = (moved.abs() > 1e-9) & (root.abs() > 1e-9)
    turned = clear & (moved.sign() != root.sign())
    if bool(turned.any()):
        raise AssertionError(
            f"root(s, x) points the other way than F(s, x) - s in {int(turned.sum())} of "
            f"{turned.numel()} numbers. It must be F(s, x) - s up to positive factors, as n - s "
            "is for "
            "(1 - z)(n - s); a form that couples the numbers goes into expected_failures."
        )
    if p.map.state_dim > WIDE:
        return
    found = find_fixed_points(p.map, p.states, p.inputs)
    fixed = found[found.status == Status.FIXED]
    with torch.no_grad():
        left = p.map.root(*(t.to(p.map.device) for t in (fixed.states, fixed.inputs))).abs()
    if bool((left > 1e-4 * found.scale).any()):
        raise AssertionError(
            f"root is {float(left.max()):.2g} at a fixed point. It must vanish exactly where "
            "F(s, x) = s."
        )


def bound(p: Points) -> None:
    """No state inside the box leaves it, drawn from its inside and from its corners."""
    """No state inside the box leaves it, drawn from its inside and from its corners."""
    box = p.map.bound(p.inputs)
    if box is None:
        return
    if not (box.shape == p.states.shape and bool((box > 0).all())):
        raise AssertionError(
            f"bound(x) gave {described(box)}; it must give a positive half-width for each "
            "number of the "
            f"state, {tuple(p.states.shape)}, or None."
        )
    generator = torch.Generator().manual_seed(2)
    for corner in (False, True):
        for _ in range(20):
            u = 2 * torch.rand(box.shape, generator=generator, dtype=box.dtype).to(box) - 1
            with torch.no_grad():
                after = p.map.step(box * (u.sign() if corner else u), p.inputs).abs()
            worst = float((after / box).max())
            if not (worst <= 1 + 1e-9):
                raise AssertionError(
                    f"A state inside bound(x) steps out of it, to {worst:.4g} times the "
                    "half-width. "
                    "The box must be one that F(., x) maps into itself; return None where none is "
                    "known."
                )


def affine(p: Points) -> None:
    """The affine map steps as the recurrence does, and knows its matrix and fixed point."""
    """The affine map steps as the recurrence does, and knows its matrix and fixed point."""
    with torch.no_grad():
        found = p.map.affine(p.inputs)
        if found is None:
            return
        stepped = p.map.step(p.states, p.inputs)
        gap = apart(stepped, found.apply(p.states), 1e-9)
        if gap:
            raise AssertionError(
                f"affine(x).apply(s) is not step(s, x) ({gap}). Return the map of this very "
                "input, "
                "or None where the step is not affine in the state."
            )
        fixed = found.fixed_point()
        known = fixed.isfinite().all(-1)
        s, x = fixed[known], p.inputs[known]
        gap = apart(p.map.step(s, x), s, 1e-7) if len(s) else ""
        if gap:
            raise AssertionError(f"affine(x).fixed_point() moves in a step ({gap}).")
        if p.map.state_dim > WIDE:
            return
        matrix = found.matrix()
        gap = apart(matrix, p.map.jacobian(p.states, p.inputs), 1e-9)
        if gap:
            raise AssertionError(f"affine(x).matrix() is not the Jacobian ({gap}).")
        values = torch.stack([torch.linalg.eigvals(a).real.sort().values for a in matrix.cpu()])
        gap = apart(values.to(matrix), found.eigenvalues().sort(-1).values, 1e-6)
        if gap:
            raise AssertionError(f"affine(x).eigenvalues() are not those of its matrix ({gap}).")
