"""The Triton kernels equal the torch backend; without a GPU under Triton's interpreter.

The interpreter is chosen when triton is imported, so those tests run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from quadratic import quadratic, relative

from dynprobe.nn import causal_linear_attention

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"

here = pytest.mark.skipif(
    not (INTERPRETED or torch.cuda.is_available()), reason="run by test_under_the_interpreter"
)


@pytest.mark.skipif(INTERPRETED, reason="is the interpreter")
@pytest.mark.requires("triton")
def test_under_the_interpreter():
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


def tensors(steps, d, m, dtype=torch.float32):
    shapes = [(steps, d), (steps, d), (steps, m), (d, m), (d,)]
    made = [torch.randn(1, 2, *shape, device=DEVICE) for shape in shapes]
    made[4] = made[4].abs()
    return [x.to(dtype if i < 3 else torch.float32).requires_grad_() for i, x in enumerate(made)]


def run(backend, x, **kwargs):
    out, state = causal_linear_attention(
        *x[:3], initial_state=(x[3], x[4]), return_state=True, backend=backend, **kwargs
    )
    ends = (out, *state)
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(e.shape, generator=generator).to(e) for e in ends]
    return ends, torch.autograd.grad(ends, x, weights)


@here
@pytest.mark.parametrize(
    ("steps", "d", "m", "kwargs"),
    [
        (1, 3, 2, {}),
        (37, 8, 5, {"chunk_size": 16, "decay": [0.9, 0.4]}),
        (37, 8, 5, {"chunk_size": 16, "normalize": False, "decay": [0.9, 1.0]}),
        (37, 8, 5, {"feature_map": "relu", "eps": 1e-2}),
        (37, 8, 5, {"feature_map": "squared_relu", "eps": 1e-2}),
        (300, 20, 33, {"mask": True}),
        (513, 72, 16, {"decay": [0.99, 1.0]}),
        (0, 4, 4, {"decay": [0.5, 1.0]}),
    ],
)
def test_equals_the_torch_backend(steps, d, m, kwargs):
    """Outputs, state and all gradients; lengths around chunks of 16, 32 and segments of 256."""
    kwargs = dict(kwargs)
    if "decay" in kwargs:
        kwargs["decay"] = torch.tensor(kwargs["decay"], device=DEVICE)
    if "mask" in kwargs:
        kwargs["mask"] = torch.rand(1, steps, device=DEVICE) > 0.3
    x = tensors(steps, d, m)
    doubles = [y.detach().double().requires_grad_() for y in x]
    ends, grads = run("triton", x, **kwargs)
    wanted, wanted_grads = run("torch", doubles, **kwargs)
    for got, want in zip(ends, wanted, strict=True):
        assert (got - want).norm() <= 5e-7 * max(want.norm(), 1e-3)
    for got, want in zip(grads, wanted_grads, strict=True):
        assert (got - want).norm() <= 5e-6 * max(want.norm(), 1e-3)


@here
def test_keys_far_below_zero_and_rows_without_keys():
    q, k, v = (x.detach() for x in tensors(40, 8, 8)[:3])
    low = torch.full_like(k, -30.0)
    out = causal_linear_attention(q, low, v, eps=0.0, backend="triton")
    assert relative(out.cpu(), quadratic(q.cpu(), low.cpu(), v.cpu(), eps=0.0)) <= 1e-6
    mask = torch.zeros(1, 40, device=DEVICE, dtype=torch.bool)
    out = causal_linear_attention(q, k, v, eps=0.0, mask=mask, backend="triton")
    assert out.abs().max() == 0


@here
def test_bfloat16():
    x = tensors(300, 16, 16, torch.bfloat16)
    doubles = [y.detach().double().requires_grad_() for y in x]
    ends, grads = run("triton", x)
    wanted, wanted_grads = run("torch", doubles)
    for got, want in zip((*ends, *grads), (*wanted, *wanted_grads), strict=True):
        assert relative(got, want) <= 5e-3


@here
def test_strided_inputs_and_second_derivative():
    packed = torch.randn(1, 20, 2, 11, device=DEVICE, requires_grad=True)

    def square_of_gradient(backend):
        q, k, v = packed.transpose(1, 2).split([4, 4, 3], dim=-1)
        out = causal_linear_attention(q, k, v, backend=backend)
        (grad,) = torch.autograd.grad(out.square().sum(), packed, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), packed)[0]

    assert relative(square_of_gradient("triton"), square_of_gradient("torch")) <= 1e-5
