"""Trained counting networks, run with nothing but their slow modes, and without them.

    python benchmarks/slow_modes.py [--seeds 3]

GRU and LSTM of 64 units on three classes of evidence words, trained as in `dynprobe demo`; the
causal test of the `integration_direction` analyzer by orthogonal and by oblique projection.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from machine import save

import dynprobe
from dynprobe.analyzers.integration_direction import IntegrationDirection
from dynprobe.analyzers.mode_ablation import ModeAblation
from dynprobe.nn import RNNClassifier
from dynprobe.study.demo import PHRASES
from dynprobe.study.train import train
from dynprobe.tasks import categorical


def recorded(cell: str, seed: int) -> dynprobe.Probe:
    task = categorical(3, 50)
    generator = torch.Generator().manual_seed(seed)
    model = RNNClassifier(len(task.vocabulary), 3, cell=cell, hidden_size=64, generator=generator)
    train(model, task, steps=3000, cooldown=300, l2=5e-4, seed=seed)
    model.eval()
    phrases = task.sample(PHRASES, seed=seed + 2_000_003)
    with dynprobe.attach(model, vocabulary=task.vocabulary) as probe, torch.no_grad():
        model(phrases.tokens, phrases.lengths)
    probe.recording().annotate(labels=phrases.labels)
    return probe


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def row(found: ModeAblation) -> dict[str, float]:
    assert found.chance is not None
    return {
        "unedited": found.unedited.score,
        "chance": found.chance,
        "keep": found.keep.score,
        "remove": found.remove.score,
        "random keep": mean([o.score for o in found.random_keep]),
        "random remove": mean([o.score for o in found.random_remove]),
        "spread kept": found.keep.logit_spread,
        "spread left": found.remove.logit_spread,
        "rank": found.rank,
        "projector norm": found.obliqueness,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="networks of each kind")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for cell in ("gru", "lstm"):
        for seed in range(options.seeds):
            probe = recorded(cell, seed)
            for projection in ("orthogonal", "oblique"):
                start = time.perf_counter()
                report = probe.analyze([IntegrationDirection(projection=projection)], seed=seed)
                direction = report["integration_direction"]
                rows.append(
                    {
                        "cell": cell,
                        "seed": seed,
                        "projection": projection,
                        **row(direction.ablation),
                        "slow in plane": direction.slow_in_plane,
                        "departure": float(direction.departure.median()),
                        "seconds": time.perf_counter() - start,
                    }
                )
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()})
    save("slow_modes", {"seeds": rows})


if __name__ == "__main__":
    main()
