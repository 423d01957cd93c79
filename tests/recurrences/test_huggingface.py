"""Every Hugging Face family against its own token-by-token decoding."""

from __future__ import annotations

import warnings

import hf_models
import pytest
import torch

import dynprobe
from dynprobe.recurrences import find_observer


@pytest.fixture(autouse=True)
def _quiet():
    """transformers' own deprecations are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", dynprobe.errors.RecordingWarning)
        yield


def audible(mixer: torch.nn.Module) -> bool:
    """Whether this release computes the states where a probe can listen."""
    observer = find_observer(mixer)
    return bool(observer.taps(mixer) or observer.children(mixer)) or not observer.must_hear


def built(family: hf_models.Family) -> torch.nn.Module:
    try:
        model = family.build()
    except ImportError as error:
        pytest.skip(f"{family.model}: not in this release of transformers ({error})")
    mixers = hf_models.recurrent_modules(model).values()
    if not any(audible(m) for m in mixers):
        with dynprobe.attach(model) as probe:
            model(torch.tensor([[3, 4, 5]]))
        with pytest.raises(dynprobe.DynprobeError, match="use a newer release"):
            probe.recording(probe.layers[0].key)
        pytest.skip(f"{family.model}: this release computes its states where nobody can listen")
    for index, mixer in enumerate(mixers):
        if family.model == "xlstm":
            object.__setattr__(mixer, "oracle_index", index)
    return model


@pytest.mark.parametrize("family", hf_models.FAMILIES, ids=str)
def test_states_after_every_token_are_those_of_decoding(family):
    model = built(family)
    ids = torch.randint(3, hf_models.VOCABULARY, (family.batch, 9))
    oracle = hf_models.step_by_step(family, model, ids)
    assert len(oracle) == family.layers
    with torch.no_grad():
        plain = model(ids).logits
        with dynprobe.attach(model) as probe:
            watched = model(ids).logits
    assert torch.equal(plain, watched)
    assert set(oracle) == {info.key for info in probe.layers}
    for key, expected in oracle.items():
        rec = probe.recording(key)
        assert rec.states.shape == expected.shape
        error = (rec.states - expected).norm() / expected.norm()
        assert error <= 1e-5, key
        assert torch.equal(rec.tokens, ids)


@pytest.mark.parametrize("family", hf_models.FAMILIES, ids=str)
def test_the_map_makes_the_next_state_and_knows_its_jacobian(family):
    model = built(family)
    ids = torch.randint(3, hf_models.VOCABULARY, (family.batch, 6))
    with torch.no_grad(), dynprobe.attach(model) as probe:
        model(ids)
    key = probe.layers[0].key
    rec, recurrence = probe.recording(key), probe.recurrence(key)
    before, x, after = rec.before[:, 3].double(), rec.inputs[:, 3].double(), rec.states[:, 3]
    stepped = recurrence.step(before, x)
    assert (stepped - after).norm() / after.norm() <= 1e-6
    closed = recurrence.jacobian(before, x)
    automatic = dynprobe.recurrences.base.Recurrence.jacobian(recurrence, before, x)
    assert (closed - automatic).abs().max() <= 1e-9
    affine = recurrence.affine(x)
    if affine is None:
        assert family.model in ("rwkv", "xlstm")
        return
    assert (affine.apply(before) - stepped).abs().max() <= 1e-9
    fixed, values = affine.fixed_point(), affine.eigenvalues()
    known = ~fixed.isnan()  # a decay that is exactly 1 has no fixed point
    assert bool(known.any()) or bool((values == 1).any())
    fixed = fixed.nan_to_num()
    assert ((affine.apply(fixed) - fixed) * known).abs().max() <= 1e-9 * (1 + fixed.abs().max())
    exact = torch.linalg.eigvals(closed[0]).real.sort().values
    assert (values[0].sort().values - exact).abs().max() <= 1e-6


@pytest.mark.parametrize("family", hf_models.FAMILIES, ids=str)
def test_generate_is_one_sequence(family):
    """The prompt, then one call a token: concatenated, and equal to one forward over the text."""
    model = built(family)
    ids = torch.randint(3, hf_models.VOCABULARY, (1, 4))
    with torch.no_grad(), dynprobe.attach(model) as probe:
        text = model.generate(ids, max_new_tokens=5, min_new_tokens=5, do_sample=False)
    with torch.no_grad(), dynprobe.attach(model) as whole:
        model(text[:, :-1])
    for info in whole.layers:
        generated, expected = probe.recording(info.key), whole.recording(info.key)
        assert generated.states.shape == expected.states.shape
        error = (generated.states - expected.states).norm() / expected.states.norm()
        assert error <= 1e-5
        assert torch.equal(generated.tokens, text[:, :-1])
