"""generate() through the recurrent cache."""

from __future__ import annotations

import copy

import pytest
import torch
from linear_transformers import VARIANTS, language_model, some_ids

from dynprobe.nn import LinearTransformerCache

variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
LENGTH = {"max_new_tokens": 8, "min_new_tokens": 8}


def without_cache(model, ids, steps):
    """Greedy decoding by a forward over the whole text each time."""
    with torch.no_grad():
        for _ in range(steps):
            logits = model(ids, use_cache=False).logits[:, -1]
            logits[:, 2] = -torch.inf  # min_new_tokens: no end of text
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return ids


@variants
def test_greedy(changes):
    model = language_model(**changes)
    ids = some_ids(2, 11)
    text = model.generate(ids, do_sample=False, **LENGTH)
    assert torch.equal(text, without_cache(model, ids, 8))
    assert len(text[:, 11:].unique()) > 1


@pytest.mark.parametrize(
    "how",
    [{"do_sample": True}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 2}],
    ids=str,
)
def test_sampling_and_beams_are_those_without_a_cache(how):
    model = language_model(decay="retnet")
    ids = some_ids(2, 11)
    texts = []
    for use_cache in (True, False):
        torch.manual_seed(3)
        texts.append(model.generate(ids, use_cache=use_cache, **LENGTH, **how))
    assert torch.equal(*texts)


@variants
@pytest.mark.parametrize("how", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_prompts_go_on_as_they_do_alone(side, how, changes):
    model = language_model(**changes)
    prompts = [some_ids(1, n) for n in (9, 4)]
    ids = torch.full((2, 9), model.config.pad_token_id)
    at = slice(5, 9) if side == "left" else slice(0, 4)
    ids[0], ids[1, at] = prompts[0][0], prompts[1][0]
    mask = (ids != model.config.pad_token_id).long()
    text = model.generate(ids, attention_mask=mask, do_sample=False, **LENGTH, **how)
    for i, prompt in enumerate(prompts):
        alone = model.generate(prompt, do_sample=False, **LENGTH, **how)
        assert torch.equal(text[i, 9:], alone[0, prompt.shape[1] :])


def test_embeddings_as_prompts():
    model = language_model()
    ids = some_ids(2, 7)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    expected = model.generate(ids, attention_mask=mask, do_sample=False, **LENGTH)[:, 7:]
    embedded = model.get_input_embeddings()(ids)
    text = model.generate(inputs_embeds=embedded, attention_mask=mask, do_sample=False, **LENGTH)
    assert torch.equal(text, expected)


def test_a_cache_goes_on_where_it_stopped():
    model = language_model()
    ids = some_ids(1, 14)
    with torch.no_grad():
        cache = model(ids[:, :10]).past_key_values
    text = model.generate(ids, past_key_values=cache, do_sample=False, **LENGTH)
    assert torch.equal(text, model.generate(ids, do_sample=False, **LENGTH))


def test_the_cache_is_as_large_at_any_length():
    model = language_model(torch.float32)

    def size(steps):
        with torch.no_grad():
            cache = model(some_ids(2, steps)).past_key_values
        states = [s for layer in cache.layers for s in layer.recurrent_states.values()]
        assert all(s.dtype == torch.float32 for s in states)
        held = {s.untyped_storage().data_ptr(): s.untyped_storage().nbytes() for s in states}
        return sum(held.values())

    # layers, sequences, heads, features x (values and the normaliser), bytes
    assert size(5) == size(500) == 2 * 2 * 4 * 8 * (8 + 1) * 4


def test_what_is_done_to_a_cache_is_done_to_its_sequences():
    model = language_model()
    ids = some_ids(3, 9)
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    more = some_ids(1, 1)
    with torch.no_grad():
        cache = model(ids, attention_mask=mask).past_key_values
        expected = model(more.expand(3, 1), past_key_values=copy.deepcopy(cache)).logits

        def after(change, batch):
            changed = copy.deepcopy(cache)
            change(changed)
            return model(more.expand(batch, 1), past_key_values=changed).logits

        order = torch.tensor([1, 1, 0])
        got = after(lambda c: c.reorder_cache(order), 3)
        torch.testing.assert_close(got, expected[order])
        got = after(lambda c: c.batch_select_indices(torch.tensor([1])), 1)
        torch.testing.assert_close(got, expected[1:2])
        got = after(lambda c: c.batch_repeat_interleave(2), 6)
        torch.testing.assert_close(got, expected.repeat_interleave(2, 0))
        got = after(LinearTransformerCache.reset, 3)
        torch.testing.assert_close(got, model(more.expand(3, 1)).logits)
    assert cache.get_seq_length() == 9
    assert cache.seen.tolist() == [9, 5, 9]
    assert cache.get_max_length() == -1
    assert not cache.is_compileable
