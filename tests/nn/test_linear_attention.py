"""Causal linear attention equals its definition, forward and backward, whatever it is given."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from quadratic import MAPS, quadratic, relative

from dynprobe.errors import BackendError, FeatureMapError, ShapeError, UnknownNameError
from dynprobe.nn import (
    FavorFeatures,
    causal_linear_attention,
    linear_attention_backend,
    linear_attention_step,
    noncausal_linear_attention,
)


def inputs(batch=2, heads=3, steps=50, d=6, m=5, dtype=torch.float64, grad=True):
    sizes = (d, d, m)
    return [torch.randn(batch, heads, steps, n, dtype=dtype, requires_grad=grad) for n in sizes]


def gradients(out, over, seed=1):
    g = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).to(out)
    return torch.autograd.grad((out * g).sum(), over, allow_unused=True, materialize_grads=True)


MASKS = {
    "left": lambda b, t: torch.arange(t) >= torch.arange(1, b + 1)[:, None] * (t // 4),
    "right": lambda b, t: torch.arange(t) < t - torch.arange(1, b + 1)[:, None] * (t // 4),
    "middle": lambda b, t: (torch.arange(t) < t // 3) | (torch.arange(t) > t // 2).expand(b, t),
}


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize(("steps", "chunk"), [(1, 16), (16, 16), (50, 16), (50, 64), (47, 1)])
@pytest.mark.parametrize("decay", [None, [0.9, 1.0, 0.3]])
def test_equals_the_quadratic_form(backend, steps, chunk, decay):
    q, k, v = inputs(steps=steps)
    decay = None if decay is None else torch.tensor(decay, dtype=torch.float64)
    out = causal_linear_attention(q, k, v, decay=decay, chunk_size=chunk, backend=backend)
    wanted = quadratic(q, k, v, decay=decay)
    assert relative(out, wanted) < 1e-12
    for got, want in zip(gradients(out, (q, k, v)), gradients(wanted, (q, k, v)), strict=True):
        assert (got - want).norm() <= 1e-12 * max(want.norm(), 1)


@pytest.mark.parametrize("feature_map", list(MAPS))
@pytest.mark.parametrize("normalize", [True, False])
def test_every_map(feature_map, normalize):
    q, k, v = inputs()
    if feature_map is None:
        q, k = (x.detach().abs().requires_grad_() for x in (q, k))
    options = {"feature_map": feature_map, "normalize": normalize, "eps": 1e-2}
    out = causal_linear_attention(q, k, v, chunk_size=8, **options)
    wanted = quadratic(q, k, v, **options)
    assert relative(out, wanted) < 1e-12
    for got, want in zip(gradients(out, (q, k, v)), gradients(wanted, (q, k, v)), strict=True):
        assert relative(got, want) < 1e-12


@pytest.mark.parametrize("steps", [500, 16_384])
def test_single_precision(steps):
    """float32 against float64 at any length: outputs 5e-7, gradients 5e-6."""
    q, k, v = inputs(1, 1, steps, 32, 32, torch.float32)
    out = causal_linear_attention(q, k, v)
    doubles = [x.detach().double().requires_grad_() for x in (q, k, v)]
    # float64 by chunks equals the quadratic form to 1e-12, see above.
    wanted = (quadratic if steps <= 1000 else causal_linear_attention)(*doubles)
    assert relative(out, wanted) <= 5e-7
    for got, want in zip(gradients(out, (q, k, v)), gradients(wanted, doubles), strict=True):
        assert relative(got, want) <= 5e-6


def test_bfloat16_accumulates_in_float32():
    """A bfloat16 state would be off by several percent at this length."""
    q, k, v = inputs(1, 2, 4096, 16, 16, torch.bfloat16)
    out, (s, z) = causal_linear_attention(q, k, v, return_state=True)
    assert out.dtype == torch.bfloat16
    assert s.dtype == z.dtype == torch.float32
    doubles = [x.detach().double().requires_grad_() for x in (q, k, v)]
    wanted = causal_linear_attention(*doubles)
    assert relative(out, wanted) <= 5e-3
    for got, want in zip(gradients(out, (q, k, v)), gradients(wanted, doubles), strict=True):
        assert got.dtype == torch.bfloat16
        assert relative(got, want) <= 5e-3


def test_autocast_does_not_reach_the_products():
    q, k, v = inputs(dtype=torch.float32)
    wanted = causal_linear_attention(q, k, v)
    with torch.autocast("cpu", torch.bfloat16):
        out = causal_linear_attention(q, k, v)
        got = gradients(out, (q, k, v))
    assert torch.equal(out, wanted)
    for a, b in zip(got, gradients(wanted, (q, k, v)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("decay", [None, 0.8])
def test_gradcheck(create_graph, decay):
    """All five inputs, with a mask and both outputs; the second derivative too."""
    q, k, v = inputs(2, 2, 7, 3, 2)
    s = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    z = torch.rand(2, 2, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[0, 1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 1, 0]]).bool()

    def f(q, k, v, s, z):
        out, state = causal_linear_attention(
            q, k, v, initial_state=(s, z), return_state=True, chunk_size=3, mask=mask, decay=decay
        )
        return out, *state

    check = torch.autograd.gradgradcheck if create_graph else torch.autograd.gradcheck
    assert check(f, (q, k, v, s, z))


def test_a_gradient_of_one_input_and_of_the_state_alone():
    q, k, v = inputs(grad=False)
    k.requires_grad_()
    _, (s, z) = causal_linear_attention(q, k, v, return_state=True, chunk_size=8)
    (got,) = torch.autograd.grad(s.sum() + z.sum(), k, create_graph=True)
    phi = MAPS["elu"](k)
    (wanted,) = torch.autograd.grad((phi.mT @ v).sum() + phi.sum(), k)
    torch.testing.assert_close(got, wanted)
    grad = torch.func.grad(lambda q: causal_linear_attention(q, k, v).square().sum())(q)
    wanted = torch.func.grad(lambda q: quadratic(q, k, v).square().sum())(q)
    torch.testing.assert_close(grad, wanted)


@pytest.mark.parametrize("side", list(MASKS))
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_masks_leave_no_trace(side, backend):
    """Not of v, not of phi(k) in the denominator, not of NaN in the padding."""
    q, k, v = inputs()
    mask = MASKS[side](2, 50)
    wanted = quadratic(q, k, v, mask=mask)
    expected = gradients(wanted, (q, k, v))
    gone = ~mask[:, None, :, None]
    dirty = [x.detach().masked_fill(gone, torch.nan).requires_grad_() for x in (k, v)]
    out = causal_linear_attention(q, *dirty, mask=mask, chunk_size=8, backend=backend)
    assert relative(out, wanted) < 1e-12
    for got, want in zip(gradients(out, (q, *dirty)), expected, strict=True):
        assert relative(got, want) < 1e-12


def test_lengths_are_a_mask():
    q, k, v = inputs(grad=False)
    lengths = torch.tensor([20, 50])
    mask = torch.arange(50) < lengths[:, None]
    by_lengths = causal_linear_attention(q, k, v, lengths=lengths)
    assert torch.equal(by_lengths, causal_linear_attention(q, k, v, mask=mask.long()))


@pytest.mark.parametrize("eps", [0.0, 1e-6])
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_a_row_that_sees_no_key_is_zero(eps, backend):
    q, k, v = inputs()
    mask = torch.ones(2, 50).bool()
    mask[0], mask[1, :10] = False, False
    out = causal_linear_attention(q, k, v, mask=mask, eps=eps, backend=backend)
    assert out[0].abs().max() == 0
    assert out[1, :, :10].abs().max() == 0
    assert out[1, :, 10:].abs().min() > 0
    for grad in gradients(out, (q, k, v)):
        assert grad.isfinite().all()
        assert grad[0].abs().max() == 0


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_keys_far_below_zero_do_not_underflow(backend):
    """elu(x) + 1 is 0 in float32 below -17.3; exp(x) is not."""
    q, k, v = inputs(1, 2, 200, 8, 8, torch.float32, grad=False)
    some = k.clone()
    some[:, :, ::3] = -30.0
    out = causal_linear_attention(q, some, v, backend=backend)
    assert relative(out, quadratic(q, some, v)) <= 5e-7
    low = torch.full_like(k, -30.0)
    sums = causal_linear_attention(q, low, torch.ones_like(v), eps=0.0, backend=backend)
    assert (sums - 1).abs().max() <= 1e-5
    out = causal_linear_attention(q, low, v, eps=0.0, backend=backend)
    assert relative(out, quadratic(q, low, v, eps=0.0)) <= 1e-6
    out = causal_linear_attention(q, low, v, backend=backend)
    assert relative(out, quadratic(q, low, v)) <= 1e-6
    assert out.isfinite().all()


@pytest.mark.parametrize("decay", [None, [0.95, 0.5]])
def test_parallel_chunked_and_recurrent_are_one_function(decay):
    q, k, v = inputs(2, 2, 33, dtype=torch.float32, grad=False)
    decay = None if decay is None else torch.tensor(decay)
    mask = torch.rand(2, 33) > 0.2
    out, end = causal_linear_attention(
        q, k, v, decay=decay, mask=mask, chunk_size=8, return_state=True
    )
    state, steps = None, []
    for t in range(33):
        one, state = linear_attention_step(
            q[:, :, t], k[:, :, t], v[:, :, t], state, decay=decay, mask=mask[:, t]
        )
        steps.append(one)
    assert relative(torch.stack(steps, 2), out) <= 5e-7
    first, middle = causal_linear_attention(
        q[:, :, :13], k[:, :, :13], v[:, :, :13], decay=decay, mask=mask[:, :13], return_state=True
    )
    second, last = causal_linear_attention(
        q[:, :, 13:], k[:, :, 13:], v[:, :, 13:], decay=decay, mask=mask[:, 13:],
        initial_state=middle, return_state=True, chunk_size=4,
    )  # fmt: skip
    assert relative(torch.cat([first, second], 2), out) <= 5e-7
    for got in (state, last):
        for a, b in zip(got, end, strict=True):
            assert relative(a, b) <= 5e-7


@pytest.mark.parametrize("shape", [(0, 2, 5), (2, 0, 5), (2, 2, 0)])
@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_nothing_in_nothing_out(shape, backend):
    q, k, v = inputs(*shape)
    out, (s, z) = causal_linear_attention(q, k, v, return_state=True, backend=backend)
    assert out.shape == (*shape, 5)
    assert s.shape == (*shape[:2], 6, 5)
    assert z.shape == (*shape[:2], 6)
    assert [g.shape for g in gradients(out, (q, k, v))] == [q.shape, k.shape, v.shape]


def test_expanded_and_strided_inputs_and_gradients():
    one = torch.randn(1, 1, 40, 6, dtype=torch.float64, requires_grad=True)
    q = one.expand(2, 3, 40, 6)  # one query for all heads
    packed = torch.randn(2, 40, 3, 11, dtype=torch.float64, requires_grad=True)
    k, v = packed.transpose(1, 2).split([6, 5], dim=-1)
    out = causal_linear_attention(q, k, v, chunk_size=16)
    wanted = quadratic(q, k, v)
    assert relative(out, wanted) < 1e-12
    g = torch.randn(2, 3, 5, 40, dtype=torch.float64).mT  # a strided gradient
    expanded = torch.randn(5, dtype=torch.float64).expand(2, 3, 40, 5)  # and one of stride 0
    for weight in (g, expanded):
        got = torch.autograd.grad(out, (one, packed), weight, retain_graph=True)
        want = torch.autograd.grad(wanted, (one, packed), weight, retain_graph=True)
        for a, b in zip(got, want, strict=True):
            assert relative(a, b) < 1e-12


def test_memory_is_linear_in_time():
    """What is kept for the backward pass: inputs, output, a state per tile of 1,024 tokens."""
    kept = []
    q, k, v = inputs(1, 1, 4096, 32, 32, torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        causal_linear_attention(q, k, v)
    own = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in kept}
    assert sum(own.values()) <= 4.3 * q.nbytes


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        # what a user gets; it builds C++ for a minute
        pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.requires("compiler")]),
    ],
)
def test_compiles_without_a_graph_break(backend):
    q, k, v = inputs(1, 2, 100, dtype=torch.float32)
    mask = MASKS["left"](1, 100)

    def f(q, k, v):
        return causal_linear_attention(q, k, v, mask=mask, return_state=True)

    torch._dynamo.reset()
    out, (s, _) = torch.compile(f, backend=backend, fullgraph=True)(q, k, v)
    wanted, (s_wanted, _) = f(q, k, v)
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(s, s_wanted)
    for a, b in zip(gradients(out, (q, k, v)), gradients(wanted, (q, k, v)), strict=True):
        torch.testing.assert_close(a, b)


def test_decay_learns_in_the_reference_only():
    q, k, v = inputs(2, 2, 6, 3, 2)
    decay = torch.tensor([0.7, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda g: causal_linear_attention(q, k, v, decay=g, backend="reference"), decay
    )
    with pytest.raises(BackendError, match="reference"):
        causal_linear_attention(q, k, v, decay=decay)


@pytest.mark.parametrize("feature_map", ["elu", "relu"])
def test_noncausal(feature_map):
    q, k, v = inputs()
    mask = MASKS["middle"](2, 50)
    out = noncausal_linear_attention(q, k, v, feature_map=feature_map, mask=mask, eps=1e-3)
    wanted = quadratic(q, k, v, feature_map=feature_map, mask=mask, eps=1e-3, causal=False)
    assert relative(out, wanted) < 1e-12
    for got, want in zip(gradients(out, (q, k, v)), gradients(wanted, (q, k, v)), strict=True):
        assert relative(got, want) < 1e-12
    few = noncausal_linear_attention(
        q[:, :, :7], k, v, feature_map=feature_map, mask=mask, eps=1e-3
    )
    torch.testing.assert_close(few, out[:, :, :7])


def test_random_features_estimate_softmax_attention():
    q, k, v = inputs(1, 1, 60, 8, 4, grad=False)
    q, k = 0.5 * q, 0.5 * k  # the variance of an estimate grows like exp(|q + k|^2)
    softmax = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    errors = []
    for n in (64, 16_384):
        favor = FavorFeatures(8, n, generator=torch.Generator().manual_seed(0))
        out = causal_linear_attention(q, k, v, feature_map=favor, eps=0.0)
        errors.append(relative(out, softmax))
    assert errors[1] < 0.05 < errors[0]
    again = FavorFeatures(8, 64, generator=torch.Generator().manual_seed(0))
    w = again.projection[:8]
    assert torch.equal(
        again(q), FavorFeatures(8, 64, generator=torch.Generator().manual_seed(0))(q)
    )
    cross = w @ w.T
    assert (cross - torch.diag(cross.diagonal())).abs().max() < 1e-4  # orthogonal rows


def test_errors_say_what_is_wrong():
    q, k, v = inputs(grad=False)
    for kwargs, error, match in (
        ({"mask": torch.ones(2, 50), "lengths": torch.tensor([3, 4])}, ShapeError, "Both mask"),
        ({"mask": torch.ones(2, 49).bool()}, ShapeError, r"\(2, 50\)"),
        ({"mask": torch.ones(2, 50)}, ShapeError, "0/1"),
        ({"lengths": torch.tensor([3])}, ShapeError, r"\(2,\)"),
        ({"feature_map": "elo"}, UnknownNameError, "'elu'"),
        ({"feature_map": None}, FeatureMapError, "features of q reach -"),
        ({"decay": 1.5}, ValueError, r"\(0, 1\]"),
        ({"decay": torch.ones(2)}, ShapeError, r"\(3,\)"),
        ({"chunk_size": 0}, ValueError, "chunk_size"),
        ({"initial_state": (v, q)}, ShapeError, r"\(2, 3, 6, 5\)"),
        ({"backend": "cuda"}, BackendError, "There is no backend"),
        ({"backend": "triton"}, BackendError, "triton"),
        ({"backend": "fla"}, BackendError, "fla"),
    ):
        with pytest.raises(error, match=match):
            causal_linear_attention(q, k, v, **kwargs)
    with pytest.raises(ShapeError, match="batch, heads and time"):
        causal_linear_attention(q, k[:, :, 1:], v)
    with pytest.raises(ShapeError, match="equally wide"):
        causal_linear_attention(q, k[..., 1:], v)
    with pytest.raises(ShapeError, match="floating type"):
        causal_linear_attention(q, k, v.float())


def test_auto_says_which_backend_it_is():
    q = torch.randn(1, 1, 2, 3)
    assert linear_attention_backend(q, q) == "torch"
    assert linear_attention_backend(q, q, "reference") == "reference"
    code = (
        "import logging, sys, torch; logging.basicConfig(level=logging.INFO)\n"
        "from dynprobe.nn import causal_linear_attention as f\n"
        "x = torch.randn(1, 1, 2, 3); f(x, x, x); f(x, x, x)\n"
        "print([m for m in ('triton', 'transformers', 'fla') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.count("uses the torch backend") == 1
    assert run.stdout.strip() == "[]"
