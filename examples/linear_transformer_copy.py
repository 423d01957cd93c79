"""A linear transformer of four layers learns to copy 63 symbols, and to count words.

    python linear_transformer_copy.py         # a taste: four symbols, two layers, seconds
    python linear_transformer_copy.py full    # both tasks, some minutes each on one core

Copying is the task of Katharopoulos et al. (2020): 0 w 0 w, 128 tokens in all, of which the second
w has to be predicted. Counting is `dynprobe.tasks.categorical`: which of three words comes most.
"""

import sys
import time

import torch

from dynprobe import tasks
from dynprobe.nn import (
    LinearTransformerConfig,
    LinearTransformerForCausalLM,
    LinearTransformerForSequenceClassification,
)

torch.set_num_threads(1)
QUICK = "full" not in sys.argv[1:]
SYMBOLS, WIDTH = 10, 4 if QUICK else 63
LAYERS = 2 if QUICK else 4
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "tie_word_embeddings": False,
}


def train(model, batch_of, accuracy_of, *, steps, rate):
    """AdamW with warm-up until three looks in a row at fresh data are above 0.985."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=100)
    start, good = time.perf_counter(), 0
    for step in range(1, steps + 1):
        loss = model(**batch_of(step)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warm_up.step()
        if step % 50 == 0:
            seen = accuracy_of(step)
            print(f"step {step:5}  loss {loss.item():.3f}  accuracy {seen:.3f}", flush=True)
            good = good + 1 if seen >= 0.985 else 0
            if good == 3:
                break
    return time.perf_counter() - start


def copying(seed):
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(1, SYMBOLS + 1, (16, WIDTH), generator=generator)
    zero = torch.zeros(16, 1, dtype=torch.int64)
    ids = torch.cat([zero, words, zero, words], dim=1)
    labels = ids.clone()
    labels[:, : WIDTH + 2] = -100
    return {"input_ids": ids, "labels": labels}


def copied(model, seeds):
    """Share of symbols predicted in sequences that were not trained on."""
    hits = []
    for seed in seeds:
        ids = copying(seed)["input_ids"]
        with torch.no_grad():
            predicted = model(ids).logits[:, WIDTH + 1 : -1].argmax(-1)
        hits.append((predicted == ids[:, WIDTH + 2 :]).float().mean())
    return torch.stack(hits).mean().item()


def copy_task():
    torch.manual_seed(0)
    config = LinearTransformerConfig(
        vocab_size=SYMBOLS + 1,
        position_embedding="learned",
        max_position_embeddings=2 * WIDTH + 2,
        feature_map="squared_relu",
        **SHAPE,
    )
    model = LinearTransformerForCausalLM(config)
    seconds = train(
        model,
        copying,
        lambda step: copied(model, [10**6 + step]),
        steps=300 if QUICK else 3000,
        rate=4e-3,
    )
    print(f"copy: accuracy {copied(model, range(10**7, 10**7 + 20)):.4f}, {seconds:.0f} s")
    prompt = copying(10**8)["input_ids"][:1]
    model.eval()
    written = model.generate(prompt[:, : WIDTH + 2], max_new_tokens=WIDTH, do_sample=False)
    print(
        f"generate() copies {(written == prompt)[:, WIDTH + 2 :].float().mean():.0%} of a sequence"
    )


def counting_task():
    torch.manual_seed(0)
    task = tasks.categorical(n_classes=3, length=10 if QUICK else 50)
    config = LinearTransformerConfig(
        vocab_size=len(task.vocabulary), num_labels=3, position_embedding="none", **SHAPE
    )
    model = LinearTransformerForSequenceClassification(config)

    def batch_of(seed):
        batch = task.sample(64, seed=seed)
        return {"input_ids": batch.tokens, "labels": batch.labels}

    def accuracy_of(seed):
        batch = task.sample(1000, seed=seed)
        with torch.no_grad():
            return (model(batch.tokens).logits.argmax(-1) == batch.labels).float().mean().item()

    seconds = train(
        model, batch_of, lambda s: accuracy_of(10**6 + s), steps=150 if QUICK else 3000, rate=1e-3
    )
    print(f"counting: accuracy {accuracy_of(10**7):.4f}, {seconds:.0f} s")


copy_task()
counting_task()
