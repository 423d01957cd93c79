"""A training step of Mamba-1: our scan, a plain loop over time, and Hugging Face's scan.

    python benchmarks/mamba_scan.py [--runs 9]

Hidden size 64 (128 inner channels of 16 numbers), 128 sequences of 50 words, 3 classes, one layer,
float32, one thread, interleaved medians. `scan` is the scan alone, forward and backward; `step` a
training step of the classifier: forward, backward, AdamW. The plain loop is the same model with
the recursion written out for autograd; Hugging Face's is its MambaModel without kernels, as it is.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from machine import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dynprobe.nn import MambaClassifier, selective_scan
from dynprobe.nn.mamba import mixer as mixer_file
from dynprobe.tasks import categorical

BATCH, WORDS, HIDDEN, N = 128, 50, 64, 16
TASK = categorical(3, WORDS)


def plain_loop(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    h, ys = x.new_zeros(len(x), *A.shape), []
    for x_t, dt_t, b_t, c_t in zip(*(z.unbind(1) for z in (x, dt, B, C)), strict=True):
        h = torch.exp(dt_t[..., None] * A) * h + (dt_t * x_t)[..., None] * b_t[:, None]
        ys.append((h @ c_t[..., None]).squeeze(-1))
    return torch.stack(ys, dim=1) + D * x


def scan(function: Callable[..., Tensor]) -> Callable[[], None]:
    """Make a function that runs a scan forward and backward."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    inner = 2 * HIDDEN
    dt = (draw(BATCH, WORDS, inner) - 3).exp()
    rates = -torch.arange(1.0, N + 1).repeat(inner, 1)
    b, c = draw(BATCH, WORDS, N), draw(BATCH, WORDS, N)
    given = [draw(BATCH, WORDS, inner), dt, rates, b, c, torch.ones(inner)]
    given = [z.requires_grad_() for z in given]
    above = draw(BATCH, WORDS, inner)

    def run() -> None:
        torch.autograd.grad(function(*given), given, above)

    return run


def training(model: nn.Module) -> Callable[[], None]:
    """Make a function that trains for one more step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = TASK.sample(BATCH, seed=0)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(batch.tokens, batch.lengths), batch.labels).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9, help="runs whose median is taken")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = MambaClassifier(len(TASK.vocabulary), TASK.n_classes, hidden_size=HIDDEN)
    ours, written_out = training(model), training(model)

    def loop() -> None:
        with patch.object(mixer_file, "selective_scan", plain_loop):
            written_out()

    cases: dict[str, Callable[[], None]] = {
        "scan, ours": scan(selective_scan),
        "scan, plain loop": scan(plain_loop),
        "step, ours": ours,
        "step, plain loop": loop,
        "step, Hugging Face": training(model.to_transformers()),
    }
    times: dict[str, list[float]] = {case: [] for case in cases}
    for run in cases.values():
        run()
    order = random.Random(0)
    for _ in range(options.runs):
        for case in order.sample(list(cases), len(cases)):
            gc.collect()
            start = time.perf_counter()
            cases[case]()
            times[case].append(time.perf_counter() - start)
    seconds = {case: statistics.median(taken) for case, taken in times.items()}
    for case, taken in seconds.items():
        print(f"{case:20} {1e3 * taken:8.1f} ms")
    figures = {
        "seconds": seconds,
        "fastest": {case: min(taken) for case, taken in times.items()},
        "batch": BATCH,
        "words": WORDS,
        "hidden": HIDDEN,
        "N": N,
        "runs": options.runs,
    }
    save("mamba_scan", figures)


if __name__ == "__main__":
    main()
