"""Mamba-1: its scan against a plain loop, and everything against Hugging Face's model."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dynprobe
from dynprobe.errors import BackendError, ShapeError
from dynprobe.nn import (
    MambaClassifier,
    MambaMixer,
    TransformersMambaClassifier,
    selective_scan,
)
from dynprobe.nn.mamba import scan_states, steps


def plain_loop(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The equations as they are written, (batch, inner, N) states, autograd does the rest."""
    h, ys = x.new_zeros(x.shape[0], *A.shape), []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t, :, None] * A) * h
        h = h + (dt * x)[:, t, :, None] * B[:, t, None, :]
        ys.append((h * C[:, t, None, :]).sum(-1) + D * x[:, t])
    return torch.stack(ys, 1) if ys else x.new_zeros(x.shape)


def scan_inputs(
    batch: int = 3, time: int = 7, inner: int = 4, n: int = 2, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(batch + 10 * time + 100 * inner + 1000 * n)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype)

    dt, rates = draw(batch, time, inner).exp(), -draw(inner, n).exp()
    given = draw(batch, time, inner), dt, rates, draw(batch, time, n), draw(batch, time, n)
    return tuple(z.requires_grad_() for z in (*given, draw(inner)))


@pytest.mark.parametrize("block", [1, 1 << 18], ids=["one by one", "at once"])
@pytest.mark.parametrize("time", [1, 2, 5])
def test_the_scan_passes_gradcheck(block: int, time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_BLOCK_BYTES", block)
    assert torch.autograd.gradcheck(selective_scan, scan_inputs(time=time))


@given(
    batch=st.integers(1, 5), time=st.integers(0, 20), inner=st.integers(1, 5), n=st.integers(1, 4),
    block=st.integers(1, 300),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_scan_and_gradients_are_those_of_the_plain_loop(
    batch: int, time: int, inner: int, n: int, block: int
) -> None:
    given = scan_inputs(batch, time, inner, n)
    above = torch.randn(batch, time, inner, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_BLOCK_BYTES", block)
        ours = selective_scan(*given)
        expected = plain_loop(*given)
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            torch.testing.assert_close(selective_scan(*given), expected, rtol=1e-9, atol=1e-9)
        if time:
            torch.testing.assert_close(
                torch.autograd.grad(ours, given, above),
                torch.autograd.grad(expected, given, above),
                rtol=1e-8, atol=1e-8,
            )  # fmt: skip


def test_float32_is_right_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_BLOCK_BYTES", 1 << 12)
    single = scan_inputs(9, 50, 16, 8, torch.float32)
    double = tuple(z.detach().double().requires_grad_() for z in single)
    above = torch.randn(9, 50, 16)
    ours, expected = selective_scan(*single), plain_loop(*double)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)
    grads = torch.autograd.grad(ours, single, above)
    right = torch.autograd.grad(expected, double, above.double())
    for grad, exact in zip(grads, right, strict=True):
        assert (grad - exact).abs().max() < 1e-5 * exact.abs().max()


def test_the_graph_can_be_gone_through_again_but_not_differentiated_twice() -> None:
    given = scan_inputs()
    total = selective_scan(*given).square().sum()
    first = torch.autograd.grad(total, given, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(total, given, retain_graph=True)))
    (once,) = torch.autograd.grad(total, given[0], create_graph=True)
    with pytest.raises(BackendError, match="differentiated twice"):
        torch.autograd.grad(once.sum(), given[0], retain_graph=True)
    with pytest.raises(BackendError, match="differentiated twice"):
        once.sum().backward()


def test_strided_inputs_and_gradients_are_read_right() -> None:
    given = scan_inputs()
    turned = tuple(z.detach().mT.contiguous().mT.requires_grad_() for z in given[:-1])
    turned = (*turned, given[-1])
    above = torch.randn(7, 4, 3, dtype=torch.float64).permute(2, 0, 1)
    torch.testing.assert_close(
        torch.autograd.grad(selective_scan(*turned), turned, above),
        torch.autograd.grad(plain_loop(*given), given, above),
    )


def test_what_does_not_fit_is_named() -> None:
    x, dt, A, B, C, D = scan_inputs()
    with pytest.raises(ShapeError, match=r"B \(3, 7, 1\).*B and C \(batch, time, N\)"):
        selective_scan(x, dt, A, B[..., :1], C, D)
    with pytest.raises(ShapeError, match="x \\(7, 4\\)"):
        selective_scan(x[0], dt, A, B, C, D)
    with pytest.raises(ShapeError, match="dt torch.float32 on cpu"):
        selective_scan(x, dt.float(), A, B, C, D)
    with pytest.raises(ValueError, match="conv_kernel is 0"):
        MambaMixer(4, conv_kernel=0)
    with pytest.raises(ValueError, match="layers is 0"):
        MambaClassifier(5, 2, layers=0)


def build(layers: int = 1, **arguments: object) -> MambaClassifier:
    generator = torch.Generator().manual_seed(3)
    model = MambaClassifier(
        9, 3, hidden_size=20, state_size=5, layers=layers, generator=generator, **arguments
    )  # type: ignore[arg-type]
    with torch.no_grad():  # larger than at the start, so that states are worth comparing
        for name, p in model.named_parameters():
            if p.dim() >= 2 and "A_log" not in name:
                p.add_(0.2 * torch.randn(p.shape, generator=generator))
        if model.embeddings.padding_idx is not None:
            model.embeddings.weight[model.embeddings.padding_idx] = 0
    return model


def batch(lengths: list[int] | None = None) -> tuple[Tensor, Tensor | None]:
    tokens = torch.randint(1, 9, (4, 11), generator=torch.Generator().manual_seed(1))
    if lengths is None:
        return tokens, None
    return tokens, torch.tensor(lengths)


LENGTHS = {"full": None, "padded": [11, 4, 1, 8]}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("padding_idx", [None, 0])
def test_transformers_computes_the_same_and_has_the_same_gradients(
    lengths: list[int] | None, layers: int, padding_idx: int | None
) -> None:
    ours = build(layers, padding_idx=padding_idx)
    before = torch.get_rng_state()
    theirs = ours.to_transformers()
    assert torch.equal(torch.get_rng_state(), before)
    tokens, n = batch(lengths)
    a, b = ours(tokens, n), theirs(tokens, n)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert a.std() > 0.1
    for logits in (a, b):
        logits.square().sum().backward()
    named = dict(theirs.named_parameters())
    for name, p in ours.named_parameters():
        grad = named[name if name.startswith("readout") else f"model.{name}"].grad
        assert grad is not None
        assert (p.grad - grad).abs().max() <= 2e-5 * grad.abs().max(), name


def test_weights_come_back_from_transformers() -> None:
    ours = build(2, padding_idx=0).eval()
    again = MambaClassifier.from_transformers(ours.to_transformers())
    assert not again.training
    assert again.embeddings.padding_idx == 0
    tokens, n = batch(LENGTHS["padded"])
    assert torch.equal(again(tokens, n), ours(tokens, n))
    theirs = ours.to_transformers()
    theirs.readout.bias = nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match="readout.bias is True"):
        MambaClassifier.from_transformers(theirs)
    theirs.readout.bias = None
    theirs.model.config.use_bias = True
    with pytest.raises(ValueError, match="use_bias is True"):
        MambaClassifier.from_transformers(theirs)


def test_a_model_of_transformers_comes_over() -> None:
    from transformers import MambaConfig, MambaModel

    config = MambaConfig(vocab_size=9, hidden_size=20, num_hidden_layers=2, state_size=5)
    readout = nn.Linear(20, 3, bias=False)
    theirs = TransformersMambaClassifier(MambaModel(config), readout)
    ours = MambaClassifier.from_transformers(theirs)
    tokens, n = batch(LENGTHS["padded"])
    tokens[:, 0] = 0  # transformers' padding word by default, and a word of this vocabulary
    a, b = ours(tokens, n), theirs(tokens, n)
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    b.sum().backward()
    a.sum().backward()
    torch.testing.assert_close(
        ours.embeddings.weight.grad, theirs.model.embeddings.weight.grad, rtol=1e-4, atol=1e-5
    )


def test_what_stands_after_the_end_has_no_effect() -> None:
    model = build(2, padding_idx=0)
    tokens, n = batch([11, 4, 1, 8])
    other = tokens.clone()
    assert n is not None
    other[torch.arange(11) >= n[:, None]] = 0
    assert not torch.equal(tokens, other)
    assert torch.equal(model(tokens, n), model(other, n))
    for i, length in enumerate(n.tolist()):
        alone = model(tokens[i : i + 1, :length])
        torch.testing.assert_close(model(tokens, n)[i : i + 1], alone)


def test_initial_weights_are_distributed_as_in_transformers() -> None:
    from transformers import MambaConfig, MambaModel

    torch.manual_seed(0)
    config = MambaConfig(vocab_size=400, hidden_size=64, num_hidden_layers=1)
    theirs = dict(MambaModel(config).named_parameters())
    before = torch.get_rng_state()
    ours = MambaClassifier(400, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    for name, p in ours.named_parameters():
        if name.startswith("readout"):
            continue
        p, q = p.detach(), theirs[name].detach()
        assert p.shape == q.shape
        assert float(p.mean()) == pytest.approx(float(q.mean()), abs=0.2 * float(q.std()) + 1e-6)
        assert float(p.std()) == pytest.approx(float(q.std()), rel=0.15, abs=1e-6), name
        assert float(p.abs().max()) == pytest.approx(float(q.abs().max()), rel=0.3, abs=1e-6), name
    torch.testing.assert_close(
        ours.layers[0].mixer.A_log.exp(), torch.arange(1.0, 17).expand(128, 16)
    )
    dt = nn.functional.softplus(ours.layers[0].mixer.dt_proj.bias.detach())
    assert 1e-3 <= float(dt.min()) < 2e-3
    assert 0.05 < float(dt.max()) <= 0.1
    same = MambaClassifier(400, 3, generator=torch.Generator().manual_seed(0))
    assert all(map(torch.equal, ours.state_dict().values(), same.state_dict().values()))
    other = MambaClassifier(400, 3, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(ours.readout.weight, other.readout.weight)


def states_of(model: MambaClassifier, tokens: Tensor) -> Tensor:
    """(batch, time, inner * N) of the last layer, by our scan alone."""
    seen: list[Tensor] = []
    hidden = model.embeddings(tokens)
    for block in model.layers:
        mixer = block.mixer
        x, _ = mixer.in_proj(block.norm(hidden)).chunk(2, dim=-1)
        x = nn.functional.silu(mixer.conv1d(x.mT)[..., : x.shape[1]].mT)
        dt, b, _ = mixer.x_proj(x).split([mixer.rank, mixer.state_size, mixer.state_size], -1)
        dt = nn.functional.softplus(mixer.dt_proj(dt))
        seen.append(scan_states(x, dt, -mixer.A_log.exp(), b).flatten(2))
        hidden = block(hidden)
    return seen[-1]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("form", ["ours", "transformers"])
def test_a_probe_records_the_states_of_the_scan(layers: int, form: str) -> None:
    ours = build(layers).eval()
    model = ours if form == "ours" else ours.to_transformers()
    tokens, n = batch(LENGTHS["padded"])
    assert n is not None
    with torch.no_grad():
        plain = model(tokens, n)
        with dynprobe.attach(model) as probe:
            assert torch.equal(model(tokens, n), plain)
        expected = states_of(ours, tokens)
    assert len(probe.layers) == layers
    prefix = "" if form == "ours" else "model."
    rec = probe.recording(f"{prefix}layers.{layers - 1}.mixer")
    assert rec.layout.names == ("ssm",)
    assert rec.lengths.tolist() == n.tolist()
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(
        rec.states[rec.mask], expected[rec.mask].to(rec.states.dtype), rtol=1e-5, atol=1e-5
    )


def test_the_map_of_a_state_is_affine() -> None:
    model = build().eval()
    tokens, _ = batch()
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(tokens)
    rec, recurrence = probe.recording(), probe.recurrence()
    states, inputs = rec.states[:, :-1].flatten(0, 1).double(), rec.inputs[:, 1:].flatten(0, 1)
    inputs = inputs.double()
    affine = recurrence.affine(inputs)
    assert affine is not None
    # A(x) s + b(x), with both of them measured on other states than the recorded ones
    shift = recurrence.step(torch.zeros_like(states), inputs)
    slope = recurrence.step(torch.ones_like(states), inputs) - shift
    after = rec.states[:, 1:].flatten(0, 1).double()
    torch.testing.assert_close(slope * states + shift, after, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(affine.eigenvalues().sort().values, slope.sort().values)
    assert bool(((slope > 0) & (slope < 1)).all())


def test_gradients_flow_through_a_watched_model() -> None:
    model = build(2)
    tokens, n = batch(LENGTHS["padded"])
    grads = []
    for watched in (False, True):
        model.zero_grad()
        if watched:
            with dynprobe.attach(model):
                model(tokens, n).sum().backward()
        else:
            model(tokens, n).sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    assert all(map(torch.equal, *grads))


def test_importing_it_does_not_import_transformers() -> None:
    code = (
        "import sys; from dynprobe.nn import MambaClassifier; import torch\n"
        "MambaClassifier(5, 2, hidden_size=4)(torch.ones(2, 3, dtype=torch.int64))\n"
        "print('transformers' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "False"


def test_steps_from_a_state_are_those_of_the_forward_pass() -> None:
    mixer = MambaMixer(6, state_size=3, conv_kernel=4).double()
    hidden = torch.randn(2, 9, 6, dtype=torch.float64)
    expected = mixer(hidden)
    padded = torch.nn.functional.pad(hidden, (0, 0, 3, 0))
    state = torch.zeros(2, 12, 3, dtype=torch.float64)
    for t in range(9):
        out, state = mixer.step(padded[:, t : t + 4], state)
        torch.testing.assert_close(out, expected[:, t])
