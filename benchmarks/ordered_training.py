"""How the ordered network's participation ratio depends on how long one trains, and on the words.

python benchmarks/ordered_training.py FOLDER

GRUs of 128 units on three ordered classes, L2 1e-2, by the recipe of the reproduction, for twice as
many steps; with good, bad and neutral words, and with strong ones too. FOLDER keeps checkpoints: a
run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from machine import save

from dynprobe.nn.stacked import Stack
from dynprobe.study.settling import Settling
from dynprobe.study.train_stack import train_stack
from dynprobe.tasks import ordered

L2, STEPS, UNITS, LENGTH = 1e-2, 10_000, 128, 50
#: Words -> seeds of the networks.
RUNS = {"plain": (0,), "strong": (0, 1)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks = []
    for words, seeds in RUNS.items():
        task = ordered(3, LENGTH, strong=words == "strong")
        stack = Stack.seeded(seeds, len(task.vocabulary), 3, cell="gru", hidden_size=UNITS)
        log = train_stack(
            stack,
            task,
            steps=STEPS,
            seeds=seeds,
            l2=L2,
            settling=Settling(min_steps=10**9),  # every check is wanted, none ends it
            checkpoint=options.folder / f"ord_{words}_3_{L2:g}_{STEPS}.safetensors",
        )
        for seed, checks in zip(seeds, log.checks, strict=True):
            networks.append(
                {
                    "words": words,
                    "seed": seed,
                    "steps": [c.step for c in checks],
                    "participation_ratio": [c.participation_ratio for c in checks],
                    "accuracy": [c.accuracy for c in checks],
                }
            )
            for c in checks[3::4]:
                found = (
                    f"participation ratio {c.participation_ratio:.3f}, accuracy {c.accuracy:.3f}"
                )
                print(f"{words:6} seed {seed} step {c.step:6,}: {found}", flush=True)
    save("ordered_training", {"networks": networks})


if __name__ == "__main__":
    main()
