"""Dimension of five ordered classes by the words of the task and by the penalty.

python benchmarks/ordered_classes.py FOLDER

GRUs of 128 units by the recipe of the reproduction, seed 0, with good, bad and neutral words or
with strong ones too. FOLDER keeps checkpoints: a run that was stopped goes on.
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

N, PENALTIES, STEPS, UNITS, LENGTH, BATCH, SEED = 5, (1e-2, 1e-3, 1e-4), 5000, 128, 50, 128, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    networks = []
    for strong in (False, True):
        task = ordered(N, LENGTH, strong=strong)
        seeds = (SEED,) * len(PENALTIES)
        stack = Stack.seeded(seeds, len(task.vocabulary), N, cell="gru", hidden_size=UNITS)
        log = train_stack(
            stack,
            task,
            steps=STEPS,
            seeds=seeds,
            batch_size=BATCH,
            l2=PENALTIES,
            settling=Settling(min_steps=10**9),  # every check is wanted, none ends it
            checkpoint=options.folder / f"{task.name}.safetensors",
        )
        for l2, checks in zip(PENALTIES, log.checks, strict=True):
            networks.append(
                {
                    "words": "strong" if strong else "plain",
                    "l2": l2,
                    "steps": [c.step for c in checks],
                    "participation_ratio": [c.participation_ratio for c in checks],
                    "accuracy": [c.accuracy for c in checks],
                }
            )
            last = checks[-4:]
            ratios = ", ".join(f"{c.participation_ratio:.2f}" for c in last)
            right = ", ".join(f"{c.accuracy:.3f}" for c in last)
            print(f"{task.name} L2 {l2:g}: participation ratio {ratios}; accuracy {right}")
    save("ordered_classes", {"networks": networks})


if __name__ == "__main__":
    main()
