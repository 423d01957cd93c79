"""Training: Trainer, checkpointing, compiled, in half precision."""

from __future__ import annotations

import pytest
import torch
import transformers
from linear_transformers import VARIANTS, config, language_model, some_ids

from dynprobe.nn import LinearTransformerForCausalLM, LinearTransformerForSequenceClassification

variants = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


def gradients(model, **batch):
    model.zero_grad()
    model(**batch).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters()}


def padded_batch():
    ids = some_ids(2, 21)
    mask = torch.ones_like(ids)
    mask[0, 15:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def test_trainer(tmp_path):
    pytest.importorskip("accelerate")
    torch.manual_seed(0)
    model = LinearTransformerForSequenceClassification(config(num_labels=2, initializer_range=0.05))
    ids = torch.randint(3, 40, (64, 12))
    data = [{"input_ids": row, "labels": int(row[-1] > 20)} for row in ids]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=12,
        per_device_train_batch_size=16,
        learning_rate=1e-2,
        report_to=[],
        logging_strategy="no",
        save_strategy="epoch",
        save_total_limit=1,
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert before > 0.5
    assert after < 0.1
    predicted = trainer.predict(data).predictions
    assert predicted.shape == (64, 2)
    (last,) = tmp_path.glob("checkpoint-*")
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(last)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(ids).logits, torch.tensor(predicted), atol=1e-4, rtol=1e-4
        )


@variants
def test_gradient_checkpointing_gives_the_same_gradients(changes):
    model = language_model(**changes).train()
    batch = padded_batch()
    expected = gradients(model, **batch)
    for reentrant in (False, True):
        switch = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
        getattr(model, f"{switch}_checkpointing_enable")({"use_reentrant": reentrant})
        runs = []
        handle = model.model.layers[0].attention.register_forward_hook(
            lambda *_, runs=runs: runs.append(1)
        )
        got = gradients(model, **batch)
        handle.remove()
        assert len(runs) == 2  # forward, and again on the way back
        for name, g in expected.items():
            torch.testing.assert_close(got[name], g, msg=name)
        assert model(**batch, use_cache=True).past_key_values is None
        getattr(model, f"{switch}_checkpointing_disable")()


@variants
def test_gradients_through_pieces_are_those_of_the_whole(changes):
    model = language_model(**changes)
    batch = padded_batch()
    x = model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    mask = batch["attention_mask"]
    weight = torch.randn(2, 21, 40).double() * mask[..., None]
    (whole,) = torch.autograd.grad(
        (model(inputs_embeds=x, attention_mask=mask).logits * weight).sum(), x
    )
    cache, total = None, 0.0
    for start, stop in ((0, 10), (10, 11), (11, 21)):
        out = model(
            inputs_embeds=x[:, start:stop],
            attention_mask=mask[:, :stop],
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        total = total + (out.logits * weight[:, start:stop]).sum()
    (pieces,) = torch.autograd.grad(total, x)
    torch.testing.assert_close(pieces, whole)
    # the mean curvature of a random direction, against differences
    d = torch.randn_like(x)
    with torch.no_grad():
        ahead, behind = (
            (model(inputs_embeds=x + h * d, attention_mask=mask).logits * weight).sum()
            for h in (1e-5, -1e-5)
        )
    torch.testing.assert_close((whole * d).sum(), (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)


@variants
def test_compiled(changes):
    torch._dynamo.reset()
    model = language_model(**changes)
    batch = padded_batch()
    expected, wanted = model(**batch), gradients(model, **batch)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    out = compiled(**batch)
    torch.testing.assert_close(out.logits, expected.logits)
    model.zero_grad()
    out.loss.backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, wanted[name], msg=name)


def test_decoding_compiled():
    torch._dynamo.reset()
    model = language_model()
    ids = some_ids(2, 6)
    compiled = torch.compile(model, backend="aot_eager")
    with torch.no_grad():
        expected = model(ids).logits
        cache, out = None, []
        for t in range(6):
            step = compiled(ids[:, t : t + 1], past_key_values=cache, use_cache=True)
            cache = step.past_key_values
            out.append(step.logits)
    torch.testing.assert_close(torch.cat(out, dim=1), expected)


@variants
def test_bfloat16(changes):
    exact = language_model(torch.float32, initializer_range=0.05, **changes)
    half = language_model(torch.float32, initializer_range=0.05, **changes).to(torch.bfloat16)
    batch = padded_batch()
    with torch.no_grad():
        expected, got = exact(**batch), half(**batch)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = exact(**batch)
    assert got.logits.dtype == torch.bfloat16
    seen = batch["attention_mask"].bool()
    for out in (got, mixed):
        error = (out.logits[seen].float() - expected.logits[seen]).norm() / expected.logits[
            seen
        ].norm()
        assert error < 2e-2
        for layer in out.past_key_values.layers:
            assert all(s.dtype == torch.float32 for s in layer.recurrent_states.values())
    grads = gradients(half.train(), **batch)
    assert all(g.isfinite().all() for g in grads.values())
    text = half.eval().generate(some_ids(1, 5), max_new_tokens=4, min_new_tokens=4)
    assert text.shape == (1, 9)


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    model = LinearTransformerForCausalLM(config(dropout=0.5))
    ids = some_ids(1, 8)
    assert not torch.equal(model.train()(ids).logits, model(ids).logits)
    assert torch.equal(model.eval()(ids).logits, model(ids).logits)
