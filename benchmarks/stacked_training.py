"""One training step of a GRU classifier: nn.GRU, stacks of several, and the products alone.

    python benchmarks/stacked_training.py [--runs 15]

GRU of 128 units, 128 sequences of 50 words, 3 classes, the reference recipe, float32, one thread,
interleaved medians; seconds are per network. A step is everything: sampling sequences, forward,
backward, penalty, clip and Adam. `bound` is the matrix products of such a step by themselves, on
tensors that are there already: for each word (128 x 128)(128 x 384) forward, and backward the
same amount for the state's gradient and for the weight's.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import time
from collections.abc import Callable

import torch
from machine import save

from dynprobe.nn import RNNClassifier
from dynprobe.nn.stacked import Stack
from dynprobe.study.members import Members, OneModel, StackedModels
from dynprobe.study.reference import Reference
from dynprobe.study.steps import Course, run_steps
from dynprobe.tasks import categorical

UNITS, BATCH, WORDS = 128, 128, 50
TASK = categorical(3, WORDS)
STACKS = (1, 2, 5)
#: The rate of the later part of a training, so that weights stay where they are reasonable.
RATE = 1e-3


def training(members: Members) -> Callable[[], None]:
    """Make a function that trains for one more step."""
    count = len(members)
    course = Course([torch.Generator().manual_seed(seed) for seed in range(count)])
    recipe = Reference(RATE, 1.0, (5e-4,) * count, 10.0, 0)
    method = recipe.method(members.module, BATCH, lambda: len(course.losses) + 1)

    def step() -> None:
        end = len(course.losses) + 1
        run_steps(members, TASK, method, course, lambda: end)

    return step


def products() -> Callable[[], None]:
    """Make a function that does the products of one network's step."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(WORDS, BATCH, UNITS, generator=generator)
    g = torch.randn(WORDS, BATCH, 3 * UNITS, generator=generator)
    weight = torch.randn(3 * UNITS, UNITS, generator=generator) / UNITS**0.5
    gates, state, gradient = g[0].clone(), h[0].clone(), weight.clone()

    def run() -> None:
        for before in h:
            torch.mm(before, weight.T, out=gates)
        for above in g:
            torch.mm(above, weight, out=state)
        for before, above in zip(h, g, strict=True):
            torch.mm(above.T, before, out=gradient)

    return run


def classifiers(count: int) -> list[RNNClassifier]:
    return [
        RNNClassifier(
            len(TASK.vocabulary),
            TASK.n_classes,
            hidden_size=UNITS,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="runs whose median is taken")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases: dict[str, tuple[int, Callable[[], None]]] = {
        "bound": (1, products()),
        "nn.GRU": (1, training(OneModel(classifiers(1)[0]))),
    }
    for count in STACKS:
        cases[f"stack of {count}"] = (count, training(StackedModels(Stack.of(classifiers(count)))))
    times: dict[str, list[float]] = {case: [] for case in cases}
    for _, run in cases.values():
        run()
    order = random.Random(0)
    for _ in range(options.runs):
        for case in order.sample(list(cases), len(cases)):
            count, run = cases[case]
            gc.collect()
            start = time.perf_counter()
            run()
            times[case].append((time.perf_counter() - start) / count)
    seconds = {case: statistics.median(taken) for case, taken in times.items()}
    share = {case: seconds["bound"] / taken for case, taken in seconds.items()}
    for case, taken in seconds.items():
        print(f"{case:12} {1e3 * taken:8.1f} ms a step and network, {share[case]:.2f} of the bound")
    operations = 3 * WORDS * 2 * BATCH * UNITS * 3 * UNITS
    figures = {
        "seconds": seconds,
        "share of the bound": share,
        "GFLOP/s of the bound": operations / seconds["bound"] / 1e9,
        "units": UNITS,
        "batch": BATCH,
        "words": WORDS,
        "runs": options.runs,
    }
    save("stacked_training", figures)


if __name__ == "__main__":
    main()
